"""What others would build over the same log and the same tables. Each is a program of its own: `python -m benchmarks.peers.<name> SPEC`.

`loop` stands beside the resolver, the others beside the benchmark job. They do only what that asks for: no repeats left out, no crash
safety, no order of writes. Where they are cheaper than a real program would be, the comparison is the harder for us.
"""
