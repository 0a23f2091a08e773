"""Prints the tables of docs/platforms.md from what `make wheels` found: `python tools/wheels/table.py`."""

import json

from places import DIST, WORK, stop


def rows(results):
    for found in results:
        tested = found.get("tests", "").strip("= ")
        numbers = (found["python"], found["libc"], found["numpy"], found["scipy"], found["sklearn"])
        times = (found.get("pip_s", "-"), found["first_prediction_s"])
        yield (
            "| " + " | ".join(str(cell) for cell in (found["machine"], *numbers, found["simd"], *times, tested)) + " |"
        )


def main():
    found = [json.loads(path.read_text()) for path in sorted((WORK / "results").glob("*.json"))]
    if not found:
        stop("no results; run make wheels first")
    print("| file | bytes |\n|---|---|")
    for path in sorted(DIST.glob("asysvrg-*")):
        print(f"| `{path.name}` | {path.stat().st_size:,} |")
    print("\n| machine | Python | C library | NumPy | SciPy | scikit-learn | SIMD | pip, s | first, s | tests |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print(*rows(result for result in found if "wheel" in result), sep="\n")
    for result in found:
        if "sdist" in result:
            print(f"\n{result['sdist']} on Python {result['python']}, without a network: {result['pip_s']} s")


if __name__ == "__main__":
    main()
