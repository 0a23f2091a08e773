"""
MPI on one machine
==================

You learn how to train with several processes, and what a run says about its messages and delays.
"""

# %%
# ``asysvrg launch -n 2`` starts a server and two workers. They come with ``pip install "asysvrg[mpi]"``. On one machine
# threads are faster than processes: this is how to try what you will run on several machines with ``--hosts``.
import json
import subprocess
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
command = "asysvrg launch -n 2 train digits --max-iter 5 --seed 0 --save model.npz --trace trace.json"
done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=True)
print(done.stdout)

# %%
# The files are the same as those of a run by threads. The trace counts the bytes of all messages and the delays.
import asysvrg

trace = json.loads((folder / "trace.json").read_text())
for row in trace["epochs"][1:]:
    print(
        f"epoch {row['epoch']}: loss {row['loss']:.4f}, delay {row['delay']['mean']:.2f}, "
        f"{row['bytes'] / 1e6:.1f} MB of messages"
    )
model = asysvrg.load(folder / "model.npz")
print(type(model).__name__, [weights.shape for weights in model.coefs_])

# %%
# From Python it is ``backend="mpi"``. Each rank runs the same script, and each ends with the fitted model.
script = folder / "script.py"
script.write_text("""
from mpi4py import MPI
from sklearn.datasets import load_digits
from asysvrg import AsySVRGClassifier

X, y = load_digits(return_X_y=True)
model = AsySVRGClassifier(backend="mpi", max_iter=5, random_state=0).fit(X, y)
if MPI.COMM_WORLD.rank == 0:
    print(f"{MPI.COMM_WORLD.size} ranks, accuracy {model.score(X, y):.3f}")
""")
command = ["mpiexec", "-n", "3", "python", "-m", "mpi4py", str(script)]
done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
print(done.stdout)

# %%
# The delays up to five. With two workers their mean is about 1: an update of the other worker is applied while one is
# computed. How they spread depends on how busy the cores are.
import matplotlib.pyplot as plt

counts = trace["delay_histogram"][:6]
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.bar(range(len(counts)), counts, color="0.4")
axes.set(xlabel="delay", ylabel="updates")
plt.show()
