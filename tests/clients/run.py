#!/usr/bin/env python3
"""Runs programs that others wrote for etcd against three members of ours: run.py [--quick] [PROGRAM...].

Each runs in network, process and mount namespaces of its own, so that it has etcd's ports for itself and leaves nothing
behind. What a program needs is fetched and built before, into $CLIENTS_CACHE (~/.cache/trireme/clients); none of it is
ours. The last line of every program is `N passed, N failed`.

A program is a file beside this one with `prepare(cache)`, which fetches, and `run(context)`, which gives (passed, failed).
"""
import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PROGRAMS = {
    'etcdctl': 'etcdctl: its whole command set, compared with what a real etcd says',
    'etcd_client': 'crate etcd-client: its own tests',
    'python_etcd3': 'PyPI etcd3: its own tests',
    'etcd_tests': "etcd's own tests of its programs",
    'patroni': 'Patroni and PostgreSQL: who leads when something dies',
}
# What takes no heavy download and little time.
QUICK = ['etcdctl']


class Context:
    """What a program is given: the binary named `etcd`, a directory, the cache, and its own arguments."""

    def __init__(self, binary, directory, cache, arguments):
        self.binary, self.directory, self.cache, self.arguments = binary, directory, cache, arguments


def find_binary(given):
    """The program under test."""
    target = os.environ.get('CARGO_TARGET_DIR') or os.path.expanduser('~/.cache/trireme/target')
    binary = given or os.environ.get('TRIREME') or os.path.join(target, 'debug', 'trireme')
    if not os.path.isfile(binary):
        sys.exit(f'error: no {binary}: build it first (make build), or set TRIREME')
    return os.path.abspath(binary)


def enter_namespaces(arguments):
    """Runs this file again where nobody else is, and gives its exit status."""
    command = ['unshare', '--net', '--pid', '--mount', '--fork', '--mount-proc', '--kill-child=KILL']
    if os.geteuid() != 0:
        command += ['--map-root-user']
    inside = [sys.executable, os.path.abspath(__file__), '--inside', *arguments]
    return subprocess.run(command + inside).returncode


def first_process(program):
    """As the first process of its namespace: runs a program and buries whoever is left without a parent."""
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    child = os.fork()
    if child == 0:
        os._exit(program())
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def run_one(name, binary, cache, arguments):
    """Runs one program inside the namespaces."""
    directory = tempfile.mkdtemp(prefix=f'trireme-clients-{name}-')
    etcd = os.path.join(directory, 'bin', 'etcd')
    os.makedirs(os.path.dirname(etcd))
    os.symlink(binary, etcd)
    sys.stdout.flush()
    context = Context(etcd, directory, cache, arguments)
    began = time.monotonic()
    try:
        passed, failed = importlib.import_module(name).run(context)
    except Exception as error:  # Whatever it is, it is this program's failure.
        print(f'error: {type(error).__name__}: {error}')
        passed, failed = 0, 1
    if failed:
        print(f'==> {name}: logs and data are in {directory}')
    else:
        shutil.rmtree(directory, ignore_errors=True)
    print(f'==> {name}: {time.monotonic() - began:.0f} s\n{passed} passed, {failed} failed', flush=True)
    return 1 if failed or not passed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--inside', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--quick', action='store_true', help='only what needs no heavy download')
    parser.add_argument('--binary', help='the program under test')
    parser.add_argument('--record', action='store_true', help='etcdctl: write down what a real etcd says')
    parser.add_argument('--filter', default='', help='a part of the names of the tests to run')
    parser.add_argument('programs', nargs='*')
    arguments = parser.parse_args()
    unknown = [name for name in arguments.programs if name not in PROGRAMS]
    if unknown:
        sys.exit(f'error: no program {unknown[0]}; there are {", ".join(PROGRAMS)}')
    binary = find_binary(arguments.binary)
    cache = os.environ.get('CLIENTS_CACHE') or os.path.expanduser('~/.cache/trireme/clients')
    os.makedirs(cache, exist_ok=True)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    # Whoever starts this in the background ignores interrupts; programs that are interrupted must not inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if arguments.inside:
        name = arguments.programs[0]
        return first_process(lambda: run_one(name, binary, cache, arguments))
    failed = []
    for name in arguments.programs or (QUICK if arguments.quick else PROGRAMS):
        print(f'==> {PROGRAMS[name]}', flush=True)
        missing = importlib.import_module(name).prepare(cache)
        if missing:
            # A quick run goes on without what this machine does not have; whoever asks for all wants to know.
            print(f'==> {name} not run: {missing}')
            failed += [] if arguments.quick else [name]
            continue
        flags = [f'--{flag}' for flag in ('record', 'quick') if getattr(arguments, flag)]
        status = enter_namespaces([*flags, '--binary', binary, '--filter', arguments.filter, name])
        failed += [name] if status else []
    if failed:
        print(f'==> failed: {", ".join(failed)}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
