"""k8s.io/apiserver's own storage tests, with our store instead of the etcd that they embed.

The module is copied out of Go's cache, `testserver.go` replaces the package that starts the etcd,
and `go test` runs as ever. Nothing of upstream's is kept: the copy lives beside the oracles.
"""
import collections, json, os, pathlib, shutil, signal, subprocess

HERE = pathlib.Path(__file__).resolve().parent
VERSION = 'v0.37.2'
PACKAGES = ['./pkg/storage/etcd3/...', './pkg/storage/storagebackend/...',
            './pkg/storage/cacher/...', './pkg/registry/generic/registry/...', './pkg/reconcilers/...']
SERVER = 'pkg/storage/etcd3/testserver/test_server.go'


def source(directory):
    """A writable copy of the module, and the original text of the file that gets replaced."""
    out = subprocess.check_output(['go', 'mod', 'download', '-json', f'k8s.io/apiserver@{VERSION}'],
                                  cwd=HERE)
    cached, copy = pathlib.Path(json.loads(out)['Dir']), directory / f'apiserver-{VERSION}'
    if not copy.exists():
        half = copy.with_suffix('.half')
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(cached, half)
        for path in [half, *half.rglob('*')]:
            path.chmod(path.stat().st_mode | 0o200)
        half.rename(copy)
    return copy, (cached / SERVER).read_text()


def go_test(module, title, env, log, arguments):
    """Runs the tests, prints a line a package; returns {(package, test): outcome}."""
    command = ['go', 'test', '-json', '-count=1', '-p=1', '-vet=off', '-timeout=20m', *arguments]
    outcomes, packages = {}, collections.defaultdict(collections.Counter)
    with open(log, 'w') as out, subprocess.Popen(
            command, cwd=module, env={**os.environ, **env}, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True) as process:
        for line in process.stdout:
            out.write(line)
            event = json.loads(line) if line.startswith('{') else {}
            package, action, test = event.get('Package'), event.get('Action'), event.get('Test')
            if test and action in ('pass', 'fail', 'skip'):
                outcomes[package, test] = action
                packages[package][action] += 1
            elif package and action in ('pass', 'fail') and (packages[package] or action == 'fail'):
                count = packages[package]
                print('  %-8s %-4s %-52s %4d passed, %d failed, %d skipped (%.0f s)' % (
                    title, action, package.removeprefix('k8s.io/apiserver/pkg/'), count['pass'],
                    count['fail'], count['skip'], event.get('Elapsed', 0)), flush=True)
    try:
        os.killpg(process.pid, signal.SIGKILL)  # members that a test left behind
    except ProcessLookupError:
        pass
    return outcomes


def run(options, work, oracles):
    """Their embedded etcd first, then the tests on ours: 1 when something passes there only.

    `--on etcd-process` runs them on a real etcd as ours runs: a process of its own, with fsync.
    """
    module, original = source(oracles / 'storage-tests-module')
    server = module / SERVER
    arguments = [*PACKAGES, *(options.rest or [])] if not any(
        a.startswith('./') for a in options.rest) else options.rest
    stand_in, members = (HERE / 'testserver.go').read_text(), str(options.members)
    stores = {'etcd': (original, {}),
              'etcd-process': (stand_in, {'STORE_COMMAND': str(oracles / 'bin/etcd'),
                                          'STORE_MEMBERS': members}),
              'trireme': (stand_in, {'STORE_COMMAND': f'{options.binary} store',
                                     'STORE_MEMBERS': members})}
    found = {}
    for title in options.on.split(','):
        text, env = stores[title]
        server.write_text(text)
        found[title] = go_test(module, title, env, work / f'{title}.json', arguments)
    server.write_text(original)
    for title, outcomes in found.items():
        count = collections.Counter(outcomes.values())
        print(f'{title}: {count["pass"]} passed, {count["fail"]} failed, {count["skip"]} skipped')
    base = found.get('etcd', {})
    worse = sorted(t for t, o in found.get('trireme', {}).items()
                   if o == 'fail' and base.get(t, 'pass') == 'pass')
    gone = sorted(t for t, o in base.items() if o == 'pass' and t not in found.get('trireme', {}))
    for package, test in worse:
        print(f'DIFFERS {package} {test}')
    for package, test in gone if 'trireme' in found else ():
        print(f'DID NOT RUN {package} {test}')
    return 1 if worse or gone else 0
