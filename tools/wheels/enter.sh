# Runs a command in a chroot: `unshare --mount sh enter.sh ROOT SHARED COMMAND...`. What it mounts ends with the command.
set -e
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/dev/shm" 2>/dev/null || { mkdir -p "$1/dev/shm"; mount -t tmpfs tmpfs "$1/dev/shm"; }
for shared in /etc/resolv.conf /etc/ssl; do
    if [ -e "$shared" ] && [ -e "$1$shared" ]; then mount --bind "$(readlink -f "$shared")" "$1$shared"; fi
done
mkdir -p "$1/mnt/wheels"
mount --bind "$2" "$1/mnt/wheels"
root=$1; shift 2
exec chroot "$root" "$@"
