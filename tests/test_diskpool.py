"""The threads for disk jobs, on the real reactor."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nodecache.diskpool import NICENESS, ThreadDiskPool, acquire
from nodecache.failures import StoreFailure
from nodecache.seams import DiskPool
from tests.fakes_disk import HeldPool


class ThreadDiskPoolTests(TestCase):
    def setUp(self) -> None:
        self.pool = ThreadDiskPool(IReactorFromThreads(reactor), 2, "test")
        self.pool.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.pool.stop()))

    async def test_a_job_runs_in_a_thread_and_its_result_comes_in_the_reactor(self) -> None:
        ran_in = await self.pool.run(threading.current_thread)
        self.assertIsNot(ran_in, threading.main_thread())
        self.assertIs(threading.current_thread(), threading.main_thread())

    async def test_its_threads_give_way_to_the_reactor(self) -> None:
        nice = await self.pool.run(
            lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        )
        self.assertEqual(nice, NICENESS)
        self.assertLess(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), NICENESS)

    async def test_a_failure_comes_as_it_is(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            await self.pool.run(lambda: 1 // 0)

    async def test_no_more_jobs_run_at_a_time_than_there_are_threads(self) -> None:
        gate, running = threading.Event(), threading.Semaphore(0)
        most = [0]
        now = [0]
        lock = threading.Lock()

        def job() -> None:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            running.release()
            gate.wait(10)
            with lock:
                now[0] -= 1

        jobs = [self.pool.run(job) for _ in range(6)]
        self.assertTrue(running.acquire(timeout=10))
        self.assertTrue(running.acquire(timeout=10))
        gate.set()
        for each in jobs:
            await each
        self.assertEqual(most[0], 2)

    async def test_results_that_come_while_the_reactor_is_busy_do_not_each_wake_it(self) -> None:
        told: list[Callable[[], None]] = []

        class Counting:
            """A reactor that hears of things when the test says so."""

            def callFromThread(self, call: Callable[[], None]) -> None:
                told.append(call)

        pool = ThreadDiskPool(Counting(), 2, "busy")  # type: ignore[arg-type]  # all that it calls
        pool.start()
        for _round in range(2):
            done: list[int] = []
            ended = threading.Semaphore(0)
            for number in range(5):
                pool.run(functools.partial(int, number)).addCallback(done.append)
                pool.run(ended.release)
            for _ in range(5):
                self.assertTrue(ended.acquire(timeout=10))
            while len(pool._results) < 10 or not told:
                """The last has ended, and is about to be told."""
            self.assertLessEqual(len(told), 2)  # both threads may look at the same time
            delivers, told[:] = list(told), []
            for deliver in delivers:
                deliver()
            self.assertEqual(sorted(done), [0, 1, 2, 3, 4])
        await pool.stop()

    async def test_a_cancelled_job_runs_on_and_its_result_is_dropped(self) -> None:
        gate, done = threading.Event(), threading.Event()

        def job() -> None:
            gate.wait(10)
            done.set()

        running = self.pool.run(job)
        running.cancel()
        with self.assertRaises(CancelledError):
            await running
        gate.set()
        await self.pool.stop()
        self.assertTrue(done.is_set())

    async def test_stopping_waits_for_all_that_was_begun(self) -> None:
        done: list[int] = []
        jobs = [self.pool.run(lambda number=number: done.append(number)) for number in range(20)]  # type: ignore[misc]  # mypy can not infer a lambda with a default
        await self.pool.stop()
        self.assertEqual(len(done), 20)
        self.assertTrue(all(each.called for each in jobs))

    async def test_after_the_stop_every_job_fails(self) -> None:
        await self.pool.stop()
        with self.assertRaises(StoreFailure):
            await self.pool.run(int)
        await self.pool.stop()

    async def test_its_threads_end(self) -> None:
        thread = await self.pool.run(threading.current_thread)
        await self.pool.stop()
        self.assertFalse(thread.is_alive())

    async def test_jobs_in_turn_run_one_after_the_other_and_in_order(self) -> None:
        turn, began, running, most = self.pool.in_turn(), list[int](), [0], [0]
        lock = threading.Lock()

        def job(number: int) -> int:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
                began.append(number)
            threading.Event().wait(0.001)
            with lock:
                running[0] -= 1
            return number

        jobs = [turn.run(functools.partial(job, number)) for number in range(30)]
        self.assertEqual([await each for each in jobs], [*range(30)])
        self.assertEqual((began, most), ([*range(30)], [1]))
        self.assertEqual(await turn.run(functools.partial(job, 30)), 30)

    async def test_a_failure_does_not_end_the_turn(self) -> None:
        turn = self.pool.in_turn()
        failing, after = turn.run(lambda: 1 // 0), turn.run(lambda: 7)
        with self.assertRaises(ZeroDivisionError):
            await failing
        self.assertEqual(await after, 7)

    async def test_those_in_turn_leave_a_thread_to_others(self) -> None:
        """Two turns without an end would have both threads for ever."""
        turns, over = [self.pool.in_turn() for _ in range(2)], threading.Event()

        def hand_in(turn: DiskPool) -> None:
            """In the reactor, where ``over`` is set: nothing comes after the pool has stopped."""
            if not over.is_set():
                turn.run(functools.partial(again, turn))

        def again(turn: DiskPool) -> None:
            reactor.callFromThread(hand_in, turn)  # type: ignore[attr-defined]  # the module is the reactor

        for turn in turns:
            for _ in range(3):
                hand_in(turn)
        self.assertEqual(await self.pool.run(lambda: 7), 7)
        over.set()

    async def test_stopping_waits_for_those_whose_turn_has_not_come(self) -> None:
        turn, done = self.pool.in_turn(), list[int]()
        jobs = [turn.run(functools.partial(done.append, number)) for number in range(20)]
        await self.pool.stop()
        self.assertEqual(done, [*range(20)])
        self.assertTrue(all(each.called for each in jobs))
        with self.assertRaises(StoreFailure):
            await turn.run(int)


class AcquireTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = HeldPool()
        self.disposed: list[str] = []

    def acquire(self, job: Callable[[], str]) -> Deferred[str]:
        return acquire(self.pool, job, self.disposed.append)

    def test_what_is_waited_for_is_handed_over(self) -> None:
        waiting = self.acquire(lambda: "file")
        self.pool.flush()
        self.assertEqual(self.successResultOf(waiting), "file")
        self.assertEqual(self.disposed, [])

    def test_what_nobody_waits_for_is_disposed_of(self) -> None:
        waiting = self.acquire(lambda: "file")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.pool.flush()
        self.assertEqual(self.disposed, ["file"])

    def test_a_failure_that_nobody_waits_for_is_dropped(self) -> None:
        def job() -> str:
            raise StoreFailure("no")

        waiting = self.acquire(job)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.pool.flush()
        self.assertEqual(self.disposed, [])
