"""Any sequence of answers, hellos, failures and time: what always holds of the membership."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nodecache.failures import PeerKind
from nodecache.limits import WIRE_VERSION, Timeouts
from nodecache.membership import Address, Hello, Known, Membership, Peer
from tests.strategies_peers import few_addresses

TIMEOUTS = Timeouts(peer_pause_first=1.0, peer_pause_last=60.0, peer_corrupt=600.0)
#: Of all pauses, but for the rounding of a time.
LONGEST = TIMEOUTS.peer_corrupt + 1e-9
IDS = st.sampled_from(["me", "one", "two", "three", "four"])
SETS = st.lists(few_addresses(), unique=True, max_size=6)
KINDS = st.sampled_from(list(PeerKind))
KNOWN = st.builds(
    Known, IDS, few_addresses(), st.just("zone"), st.floats(allow_nan=True, allow_infinity=True)
)
HELLOS = st.builds(
    Hello,
    id=IDS,
    wire=st.sampled_from([WIRE_VERSION, WIRE_VERSION, WIRE_VERSION, "2"]),
    release=st.just("1.0"),
    zone=st.just("zone"),
    addresses=SETS.map(tuple),
    known=st.lists(KNOWN, max_size=4).map(tuple),
    leaving=st.booleans(),
    busy=st.booleans(),
)


class MembershipMachine(RuleBasedStateMachine):
    """Two memberships are told the same; one of them is looked at only at the end."""

    @initialize(
        fixed=st.lists(few_addresses(), max_size=2), mine=st.lists(few_addresses(), max_size=1)
    )
    def begin(self, fixed: Sequence[Address], mine: Sequence[Address]) -> None:
        self.now = 1000.0
        self.mine = frozenset(mine)
        self.fixed = frozenset(fixed) - self.mine
        self.named: list[frozenset[Address]] = []
        self.both = [Membership(Peer("me", tuple(mine)), TIMEOUTS, "1.0", fixed) for _ in range(2)]
        self.members = self.both[0]
        self.own: set[Address] = set()

    @rule(seconds=st.one_of(st.floats(0, 3), st.floats(0, 200)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.dns_fails()  # nothing but that time has passed

    @rule(addresses=SETS, partial=st.booleans())
    def dns_answers(self, addresses: Sequence[Address], partial: bool) -> None:
        for members in self.both:
            members.resolved(addresses, self.now, partial=partial)
        if addresses:
            self.named.append(frozenset(addresses))

    @rule()
    def dns_fails(self) -> None:
        for members in self.both:
            members.unresolved(self.now)

    @rule(address=few_addresses(), hello=HELLOS, answered=st.booleans())
    def a_hello_comes(self, address: Address, hello: Hello, answered: bool) -> None:
        for members in self.both:
            members.greeted(address, hello, self.now, answered=answered)

    @rule(address=few_addresses(), kind=KINDS)
    def a_greeting_fails(self, address: Address, kind: PeerKind) -> None:
        pauses = [members.unanswered(address, kind, self.now) for members in self.both]
        assert 0 <= pauses[0] == pauses[1] <= LONGEST

    @rule(id_=st.one_of(IDS, few_addresses().map(str)), kind=KINDS)
    def a_peer_fails(self, id_: str, kind: PeerKind) -> None:
        pauses = [members.failed(id_, kind, self.now) for members in self.both]
        assert 0 <= pauses[0] == pauses[1] <= LONGEST
        assert self.members.view(self.now).get(id_) is None

    @rule(id_=IDS)
    def a_peer_answers(self, id_: str) -> None:
        for members in self.both:
            members.succeeded(id_, self.now)

    @rule(id_=IDS)
    def a_peer_says_that_it_leaves(self, id_: str) -> None:
        for members in self.both:
            members.left(id_, self.now)
        assert self.members.view(self.now).get(id_) is None

    @rule(seconds=st.floats(0, 500), late=st.one_of(st.none(), st.floats(0, 500)))
    def it_stood_still(self, seconds: float, late: float | None) -> None:
        self.now += seconds
        for members in self.both:
            members.thawed(self.now, late)
        self.dns_fails()

    @rule(most=st.integers(0, 5))
    def some_are_greeted(self, most: int) -> None:
        due = [members.due(self.now, most) for members in self.both]
        assert due[0] == due[1]
        assert len(due[0]) == len(set(due[0])) <= most

    @invariant()
    def nobody_is_ranked_twice_and_nobody_is_me(self) -> None:
        view = self.members.view(self.now)
        ids = [peer.id for peer in view.peers]
        assert ids == sorted(set(ids))
        assert "me" not in ids
        mine = set(view.me.addresses)
        addresses = [address for peer in view.peers for address in peer.addresses]
        assert len(addresses) == len(set(addresses))
        assert not mine & set(addresses)
        assert self.mine <= mine
        assert all(peer.addresses for peer in view.peers)
        ranked = [peer.id for peer in view.rank("key", 99)]
        assert sorted(ranked) == sorted([*ids, "me"])

    @invariant()
    def what_a_good_answer_named_is_known_or_me(self) -> None:
        """Whatever came since: bad answers, empty ones, failures, time."""
        nodes = self.members.nodes(self.now)
        known = {address for node in nodes for address in node.places}
        known |= set(self.members.me.addresses)
        assert self.fixed <= known
        assert not self.named or self.named[-1] <= known

    @invariant()
    def what_was_met_lately_is_known(self) -> None:
        said = self.members.hello(self.now)
        ids = {node.id for node in self.members.nodes(self.now)}
        assert {known.id for known in said.known} <= ids
        ages = [known.age for known in said.known]
        assert ages == sorted(ages)
        assert all(0 <= age < TIMEOUTS.peer_forget for age in ages)

    @invariant()
    def pauses_end(self) -> None:
        for trouble in self.members.aside(self.now).values():
            corrupt = trouble.kind is PeerKind.CORRUPT
            longest = TIMEOUTS.peer_corrupt if corrupt else TIMEOUTS.peer_pause_last
            assert trouble.until <= trouble.since + longest or trouble.count > 1

    def teardown(self) -> None:
        if not hasattr(self, "both"):
            return
        first, second = self.both
        assert first.view(self.now) == second.view(self.now)
        later = self.now + 2  # what is told may be a second old
        assert first.hello(later).known == second.hello(later).known
        self.everybody_answers_again()

    def everybody_answers_again(self) -> None:
        """However bad it was: after all pauses, a hello of each brings all of them back."""
        now = self.now + TIMEOUTS.peer_corrupt + TIMEOUTS.peer_pause_last
        named = sorted({*self.fixed, *(self.named[-1] if self.named else ())})
        for address in named * 8:
            hello = Hello(f"new-{address.host}", WIRE_VERSION, "1.0", "", (address,))
            self.members.greeted(address, hello, now, answered=True)
        expected = {f"new-{address.host}" for address in named if address not in self.mine}
        assert expected <= {peer.id for peer in self.members.view(now).peers}


MembershipMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
TestMembershipMachine = MembershipMachine.TestCase
