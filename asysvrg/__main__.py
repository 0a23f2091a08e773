"""The command `asysvrg`, also as `python -m asysvrg`. What the options alone answer imports nothing else."""

import sys
from collections.abc import Sequence

from asysvrg import options


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code, see `asysvrg.cli.run`."""
    args = options.parser().parse_args(argv)
    try:
        from asysvrg.cli import run  # here: scikit-learn takes long to import
    except ValueError as error:  # of a setting in the environment
        print(f"asysvrg {args.command}: error: {error}", file=sys.stderr)
        return options.BAD_INPUT
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
