"""
Several processes that serve one address: the supervisor's side and a worker's.

Each worker is a process of its own with a socket of its own, and hears from the supervisor over a
pair of sockets. That one is its life line, too: a worker whose supervisor is gone drains and ends.
"""
