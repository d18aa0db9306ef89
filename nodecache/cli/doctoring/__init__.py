"""Gathers what ``nodecache doctor`` judges: files, processes, ports. Judging is ``runtimes``'s."""
