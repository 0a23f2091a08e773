"""The command `asysvrg`, also as `python -m asysvrg`. What the options alone answer imports nothing else."""

import sys
from collections.abc import Sequence

from asysvrg import options
from asysvrg.report import streams


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code, see `asysvrg.cli.run`."""
    name = "asysvrg"
    try:  # options and commands import scikit-learn, which takes long enough for a Ctrl-C
        args = options.parser().parse_args(argv)
        name = f"asysvrg {args.command}"
        from asysvrg.cli import run
    except SystemExit as end:  # after --help and --version, or what is no option
        failure = streams.out.leave()
        if failure is not None:
            streams.err.say(f"{name}: error: standard output takes no more ({failure})")
        return int(end.code or 0) or options.UNWRITTEN * (failure is not None)
    except ValueError as error:  # of a setting in the environment
        streams.err.say(f"{name}: error: {error}")
        return options.BAD_INPUT
    except KeyboardInterrupt:
        streams.err.say(f"{name}: interrupted")
        return options.INTERRUPTED
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
