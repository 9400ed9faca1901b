"""Start a command as a daemon that holds a lock.

    python -I -S launch.py LOCK LOG COMMAND…

The command runs in a session of its own, appends its output to LOG, and holds LOCK from before its program begins until
it ends. Ends with an error if another process holds LOCK.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys

#: Written to the log before each start.
START_LINE = "----- start -----"


def main() -> None:
    """Start the command and leave it running."""
    lock, log, *command = sys.argv[1:]
    # Celery restarts itself on SIGHUP, and closes all descriptors before: that would release the lock.
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGHUP})
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with contextlib.suppress(OSError):  # the disk may be full
            os.write(output, f"{START_LINE}\n".encode())
        # Everything but the lock is closed in the new process: it must not keep what its caller has open.
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[descriptor],
            start_new_session=True,
            preexec_fn=lambda: fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),  # noqa: PLW1509 - no threads here
        )
    except OSError as error:
        sys.exit(f"{error.filename or command[0]}: {error.strerror}")
    except subprocess.SubprocessError:
        sys.exit(f"another process holds {lock}")
    os._exit(0)  # without waiting for the command


if __name__ == "__main__":
    main()
