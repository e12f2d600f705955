"""Become another program that dies with its parent and, for Postgres, is not root.

Run by path as a script, with the standard library only, so that it costs milliseconds::

    python -I -S launch.py --parent PID --signal N [--data FOLDER] -- PROGRAM ARGUMENT...

Postgres refuses to run as root. With ``--data`` a root caller becomes an ordinary user without
any change of modes or owners outside FOLDER: inside a user namespace that calls root by another
name or, where namespaces are forbidden (most containers), as that user with the one capability
that lets it walk through folders such as ``/root``.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import struct
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1


class LaunchError(Exception):
    """What forbids the launch, in words for the log."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(outcome: int, what: str) -> None:
    if outcome != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def die_with_parent(parent: int, signal: int) -> None:
    """Ask Linux for ``signal`` when ``parent`` ends; exit at once if it has ended already."""
    if not sys.platform.startswith("linux"):
        return
    _check(_libc().prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        sys.exit(0)


def ordinary_user() -> pwd.struct_passwd:
    """A user of this machine that is not root: initdb asks for its name."""
    users = {user.pw_name: user for user in pwd.getpwall() if user.pw_uid != 0}
    for name in ("daemon", "nobody", *users):
        if name in users:
            return users[name]
    raise LaunchError("this machine knows no user but root, and Postgres refuses to run as root")


def give(folder: str, uid: int, gid: int) -> None:
    """Make ``uid`` the owner of ``folder`` and all below it, where it is not yet."""
    for place, _, files in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in files)):
            if os.lstat(path).st_uid != uid:
                os.chown(path, uid, gid, follow_symlinks=False)


def enter_namespace(user: pwd.struct_passwd) -> None:
    """Root under another name: files keep their owner, the process sees itself as ``user``.

    Raises:
        OSError: namespaces are forbidden here; nothing has changed then.
    """
    _check(_libc().unshare(CLONE_NEWUSER), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user.pw_uid} 0 1"),
        ("gid_map", f"{user.pw_gid} 0 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def namespaces_allowed() -> bool:
    """Whether a child of this process can make a user namespace and map itself in it."""
    child = os.fork()
    if child == 0:
        try:
            enter_namespace(ordinary_user())
        except (OSError, LaunchError):
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def become(user: pwd.struct_passwd) -> None:
    """Change to ``user``, keeping only the right to pass folders closed to others."""
    libc = _libc()
    _check(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl")
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    one = 1 << CAP_DAC_OVERRIDE
    _check(libc.capset(header, struct.pack("6I", one, one, one, 0, 0, 0)), "capset")
    raised = libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)
    _check(raised, "prctl")


def leave_root(data: str) -> None:
    """Be no longer root, able to use ``data`` and to read what root may read."""
    if os.geteuid() != 0:
        return
    user = ordinary_user()
    if sys.platform.startswith("linux") and namespaces_allowed():
        give(data, 0, 0)
        enter_namespace(user)
        return
    give(data, user.pw_uid, user.pw_gid)
    try:
        become(user)
    except OSError as error:
        raise LaunchError(
            f"Postgres refuses to run as root and this machine lets root become no other user "
            f"({error}); start ActiveDPO as an ordinary user or set ACTIVEDPO_DATABASE_URL"
        ) from error


def main() -> None:
    """Parse the command line and become the program."""
    parser = argparse.ArgumentParser(description="Start a part of the stack.")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--data")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        if options.data:
            leave_root(options.data)
        # After the change of user, which would clear it
        die_with_parent(options.parent, options.signal)
        os.execvp(options.command[0], options.command)  # noqa: S606
    except (LaunchError, OSError) as error:
        sys.exit(f"{options.command[0]}: {error}")


if __name__ == "__main__":
    main()
