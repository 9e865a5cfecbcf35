#!/usr/bin/env python3
"""A real kube-apiserver on three members of our store, beside the same on three of real etcd.

    run.py replay  BINARY [--kill SECONDS] [--only PART...] [--on trireme,etcd]
    run.py storage BINARY [-- GO-TEST-ARGUMENTS]
    run.py bench   BINARY

replay: all recorded transcripts on each; prints passed/failed per file and what passes on etcd but
not on ours. With --kill the leader of the store is killed -9 every so many seconds all along.
Needs `shared/oracles/build.sh etcd kube-apiserver kubectl kube-controller-manager kube-scheduler`.
"""
import argparse, contextlib, json, os, pathlib, shutil, signal, subprocess, sys, tempfile, time

import bench, replay, storage
from members import Killer, Members, free_ports

HERE = pathlib.Path(__file__).resolve().parent
SHARED = pathlib.Path(os.environ.get('SHARED', HERE.parents[2] / '../shared')).resolve()
ORACLES = pathlib.Path(os.environ.get('ORACLES', '~/.cache/trireme-oracles')).expanduser()
NEEDED = ('etcd', 'etcdctl', 'kubectl', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler')


class Cluster:
    """A real API server (and with `controllers` the rest of a control plane) on given members."""

    def __init__(self, members, directory, controllers=False):
        self.members, self.dir = members, pathlib.Path(directory)
        self.more = ['controllers'] if controllers else []
        self.port = free_ports(5)
        self.env = {**os.environ, 'ETCD_ENDPOINTS': members.endpoints,
                    'ORACLES': str(self.with_certificates())}

    def with_certificates(self):
        """The reference script takes no certificates for the store: a wrapper adds them."""
        top, tls = self.dir / 'oracles', self.members.certs
        (top / 'bin').mkdir(parents=True, exist_ok=True)
        for name in NEEDED:
            (top / 'bin' / name).symlink_to(ORACLES / 'bin' / name)
        wrapper = top / 'bin' / 'kube-apiserver'
        wrapper.unlink()
        wrapper.write_text(f'#!/bin/sh\nexec "{ORACLES}/bin/kube-apiserver" "$@" --etcd-cafile="{tls}/ca.crt" '
                           f'--etcd-certfile="{tls}/all.crt" --etcd-keyfile="{tls}/all.key"\n')
        wrapper.chmod(0o755)
        return top

    def script(self, verb, *more):
        subprocess.run([SHARED / 'oracles/reference-cluster.sh', verb, self.dir, str(self.port), *more],
                       env=self.env, check=True, stdout=subprocess.DEVNULL)

    def up(self):
        self.script('up', *self.more)
        return self.dir / 'kubeconfig'

    def alive(self):
        """Whether what was started still runs."""
        pids = [int(p.read_text()) for p in self.dir.glob('*.pid')]
        return all(os.path.exists(f'/proc/{p}') for p in pids)


@contextlib.contextmanager
def cluster(kind, binary, directory, controllers=False, kill=0):
    """A fresh store, with an API server on it; yields (kubeconfig, members, killer or None)."""
    directory.mkdir(parents=True)
    members = Members(kind, binary, directory, ORACLES)
    whole, killer = Cluster(members, directory / 'kube', controllers), None
    try:
        members.up()
        kubeconfig = whole.up()
        if kill:
            killer = Killer(members, kill)
            killer.start()
        yield kubeconfig, members, killer
        if killer:
            killer.stop()
        wrong = members.ended() or (killer and killer.failed) or not whole.alive() and 'kube'
        if wrong:
            raise RuntimeError(f'ended by itself or did not come back: {wrong}, see {directory}')
    finally:
        if killer:
            killer.stop()
        whole.script('down')
        members.down()


def replay_on(kind, binary, work, options):
    """All asked-for transcripts on one kind of store: (results, [kills, requests, unanswered])."""
    kubectl, counts = ORACLES / 'bin/kubectl', [0, 0, 0]
    run = replay.Replay(SHARED / 'transcripts', None, kubectl, work / 'out', options.only,
                        options.kill > 0)

    @contextlib.contextmanager
    def stage(name, controllers):
        print(f'  {kind}: {name}', flush=True)
        with cluster(kind, binary, work / name, controllers, options.kill) as (at, _, killer):
            run.kubeconfig = str(at)
            yield
            seen = replay.unanswered(run.metrics())
            counts[:] = map(sum, zip(counts, (killer.kills if killer else 0, *seen)))

    last = 'api/needs-compaction.json'
    if any(run.files('api/*.json')) or any(run.files('kubectl/*.session')):
        started = time.time()
        with stage('alone', False):
            run.run('api/*.json', options.at_once, [last])
            run.run('kubectl/*.session', 1)
            if any(run.files(last)):  # the API server compacts once a minute, what is a minute old
                time.sleep(max(0, 150 - (time.time() - started)))
                run.run(last, 1)
    if any(run.files('cluster/*.json')):
        with stage('whole', True):
            run.run('cluster/controllers-*.json', options.at_once)
            run.run('cluster/scheduler-*.json', 1)
    return run.results, counts


def do_replay(options, work):
    runs, counts = {}, {}
    for kind in options.on.split(','):
        binary = options.binary if kind == 'trireme' else ORACLES / 'bin/etcd'
        runs[kind], counts[kind] = replay_on(kind, binary, work / kind, options)
        (work / f'{kind}.json').write_text(json.dumps(runs[kind], indent=1))
    print('\n'.join(replay.table(runs)))
    gone = lambda kind, name, case, problems: options.kill and replay.away(
        runs[kind][name], case, problems)
    for kind, results in runs.items():
        print('{0}: of {2} requests {3} were answered with 5xx or 429; leader killed {1} times'
              .format(kind, *counts[kind]))
        if options.kill:
            print('{}: {} answers said that the store was away; {} cases heard one and were played '
                  'again; {} never ran without'.format(kind, *replay.disturbed(results)))
    wrong = [d for d in replay.differences(runs.get('etcd', {}), runs.get('trireme', {}))
             if not gone('trireme', *d)]
    shown = [(f'({kind}) {n}', c, p) for kind, r in runs.items() for n, f in r.items()
             for c, p in f['cases'].items() if not gone(kind, n, c, p)] if options.kill else wrong
    for name, case, problems in shown:
        print(f'DIFFERS {name}: {case}', *('    ' + p for p in problems[:options.show]), sep='\n')
    print(f'{len(wrong)} cases that pass on etcd fail on ours')
    return 1 if wrong else 0


def do_storage(options, work):
    return storage.run(options, work, ORACLES)


def do_bench(options, work):
    kinds = options.on.split(',')
    runs = {kind: [] for kind in kinds}
    for trial in range(options.trials):
        for kind in kinds:
            binary = options.binary if kind == 'trireme' else ORACLES / 'bin/etcd'
            with cluster(kind, binary, work / f'{kind}-{trial}') as (kubeconfig, members, _):
                one = bench.Bench(SHARED / 'transcripts', str(kubeconfig), members)
                runs[kind].append(one.run())
    print('\n'.join(bench.table(runs)))
    return 0


def missing():
    return [name for name in NEEDED if not (ORACLES / 'bin' / name).exists()]


def main():
    ask = argparse.ArgumentParser(description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument('what', choices=['replay', 'storage', 'bench'])
    ask.add_argument('binary', type=lambda b: pathlib.Path(b).resolve())
    ask.add_argument('--kill', type=float, default=0, help='kill the leader every so many seconds')
    ask.add_argument('--only', nargs='*', default=[], help='files whose name has one of these parts')
    ask.add_argument('--on', default='etcd,trireme', help='which stores, in order')
    ask.add_argument('--at-once', type=int, default=3, help='files replayed beside each other')
    ask.add_argument('--show', type=int, default=6, help='lines of what differs, for each case')
    ask.add_argument('--members', type=int, default=1, help='storage: members of each store')
    ask.add_argument('--trials', type=int, default=3, help='bench: trials of each store')
    ask.add_argument('--keep', help='work in this (new) directory and keep it')
    mine, rest = sys.argv[1:], []
    if '--' in mine:
        at = mine.index('--')
        mine, rest = mine[:at], mine[at + 1:]
    options = ask.parse_args(mine)
    options.rest = rest
    if missing():
        sys.exit(f'SKIPPED: shared/oracles/build.sh has not built {", ".join(missing())}')
    work = pathlib.Path(options.keep or tempfile.mkdtemp(prefix='trireme-kubernetes-')).resolve()
    work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends too
    try:
        sys.exit({'replay': do_replay, 'storage': do_storage,
                  'bench': do_bench}[options.what](options, work))
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == '__main__':
    main()
