"""The method: network, objective, directions, executions in one process, the epoch loop."""
