"""Virtual workers: asynchronous runs by one thread, in virtual time."""
