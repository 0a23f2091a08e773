"""The experiments of the paper: `asysvrg reproduce`."""
