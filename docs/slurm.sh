#!/bin/bash
#SBATCH --job-name=asysvrg
#SBATCH --nodes=5
#SBATCH --ntasks-per-node=1
#SBATCH --time=01:00:00
#SBATCH --signal=B:TERM@60        # a minute before the time is up: the server writes the best model

# One server and a worker on each other node. Submit it again to go on from the last checkpoint.
set -euo pipefail
source "${VENV:-$HOME/venv}/bin/activate"
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd,)
exec asysvrg launch -n $((SLURM_JOB_NUM_NODES - 1)) --hosts "$hosts" \
    train mnist --hidden-layer-sizes 100 --checkpoint-dir "run-$SLURM_JOB_NAME" --resume \
    --save "model-$SLURM_JOB_NAME.npz" --trace "trace-$SLURM_JOB_NAME.json"
