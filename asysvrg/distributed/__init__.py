"""Distributed-AsySVRG (Algorithms 2 and 3): a parameter server and its workers over MPI."""
