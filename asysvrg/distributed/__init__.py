"""Distributed-AsySVRG (Algorithms 2 and 3): parameter servers and workers over MPI."""
