"""etcd's own tests of its programs, unmodified, from the module go.etcd.io/etcd/tests/v3, with our binary as `etcd`.

Two of its suites drive processes: `common` (what every way of running etcd must do) and `e2e` (flags, TLS, curl, etcdctl,
members that come, go, fail and recover). Each test starts the members it wants and runs alone here, so that one that hangs
does not take others along. Its third, `integration`, is made of Go code inside the same process.

Not run is what asks for something else than an etcd; each has its reason in WITHOUT. Not listed there are tests that skip
themselves: those that want fail points compiled in, an older release beside this one, or LazyFS.
"""
import os
import re
import shutil
import subprocess

VERSION = 'v3.7.1'
MODULE = 'go.etcd.io/etcd/tests/v3'
SUITES = ['common', 'e2e']
# Seconds that a test may take.
LIMIT = 180

BBOLT = "opens or damages the member's bbolt file, or a data directory that etcdutl wrote; ours is RocksDB"
DISCOVERY = 'bootstraps through a discovery service, which is not there (--initial-cluster names all members)'
COMMAND = 'runs `etcd grpc-proxy` or `etcd gateway`: programs of their own in the same binary'
PROXY = "cuts members off through a forward proxy that etcd's transport honours when it is tested; `make faults` cuts links"
HERE = 'fails with a real etcd on such a machine, too'
# What is not run, by patterns of `go test -skip`, and why.
WITHOUT = {
    'TestAuthority': 'reads what Go prints of HTTP/2 under GODEBUG',
    'TestEtcdCorruptHash': BBOLT,
    'TestPeriodicCheckDetectsCorruption': BBOLT,
    'TestCompactHashCheckDetectCorruption': BBOLT,
    'TestHTTPLivezReadyzHandler/corrupt': BBOLT,
    'TestCtlV3DefragOffline': BBOLT,
    'TestRestoreCompactionRevBump': BBOLT,
    'TestBreakConsistentIndexNewerThanSnapshot': BBOLT,
    'TestForceNewCluster_MemberCount': BBOLT,
    'TestEtctlutlMigrate': BBOLT,
    'TestCurlV3MaintenanceSnapshot': 'expects an empty snapshot in one blob; ours, with a page for each bucket, takes two',
    'UsingV3Discovery': DISCOVERY,
    'TestGrpcproxy': COMMAND,
    'TestGrpcProxy': COMMAND,
    'TestGateway': COMMAND,
    'TestHTTPHealthHandler/network_partitioned': PROXY,
    'TestHTTPLivezReadyzHandler/network_partitioned': PROXY,
    'TestNoMetricsMissing': 'names metrics of bbolt and of debugging; a test of ours compares all names, with reasons',
    'TestBootstrapDefragFlag': 'waits for what etcd says when it does not defragment at its start, which ours never does',
    'TestEtcdPeer(Multi)?CNAuth|TestEtcdPeerNameAuth': "wait for the words of Go's TLS in the log; tests of ours let in by names",
    'TestV2DeprecationEnforceDefaultValue': "waits for a field about etcd's version 2 store in its first log line",
    'TestV2DeprecationNotYet': "waits for the words of Go's flag parser; the value is refused here in others",
    'TestSnapshotCatchupEntriesFlag': HERE,
    'TestEtcdExampleConfig': HERE,
    'TestEtcdUnixPeers': HERE,
    'TestEtcdPeerLocalAddr': HERE,
}


def home(cache):
    return os.path.join(cache, f'etcd-tests-{VERSION}')


def prepare(cache):
    """Fetches the module through Go and builds its suites, etcdctl and etcdutl."""
    go = shutil.which('go') or '/usr/local/go/bin/go'
    if not os.path.exists(go):
        return 'Go is missing, which the tests are built with'
    done = os.path.join(home(cache), 'is-built')
    if os.path.exists(done):
        return None
    found = subprocess.run([go, 'mod', 'download', '-json', f'{MODULE}@{VERSION}'], capture_output=True, text=True)
    directory = re.search(r'"Dir": "([^"]+)"', found.stdout)
    if not directory:
        return f'the module could not be fetched: {(found.stdout + found.stderr).strip()[-300:]}'
    source = os.path.join(home(cache), 'source')
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(directory[1], source)
    for parent, _, files in os.walk(source):
        os.chmod(parent, 0o755)
        for file in files:
            os.chmod(os.path.join(parent, file), 0o644)
    # It finds its siblings in one repository; here they are fetched, too.
    with open(os.path.join(source, 'go.mod')) as file:
        siblings = re.findall(r'^\s+(\S+) => \.\./', file.read(), re.M)
    print(f"==> building etcd's tests {VERSION} (2 minutes)", flush=True)
    tools = os.path.join(home(cache), 'bin')
    steps = [['mod', 'edit', *(f'-dropreplace={name}' for name in siblings)]]
    steps += [['test', '-mod=mod', '-c', '-tags', 'e2e', '-o', os.path.join(home(cache), f'{suite}.test'), f'./{suite}']
              for suite in SUITES]
    steps += [['build', '-mod=mod', '-o', os.path.join(tools, name), f'go.etcd.io/etcd/{name}/v3']
              for name in ('etcdctl', 'etcdutl')]
    for step in steps:
        if subprocess.run([go, *step], cwd=source).returncode:
            return f'go {step[0]} failed'
    open(done, 'w').close()
    return None


def run(context):
    """Runs every test of both suites that a filter lets through."""
    tools = os.path.dirname(context.binary)
    for name in ('etcdctl', 'etcdutl'):
        os.symlink(os.path.join(home(context.cache), 'bin', name), os.path.join(tools, name))
    # Tests write into the directory that they are in, and change the certificates beside it.
    source = os.path.join(context.directory, 'source')
    shutil.copytree(os.path.join(home(context.cache), 'source'), source)
    env = {name: value for name, value in os.environ.items() if not name.startswith('ETCD')}
    env['PATH'] = f'/usr/local/go/bin:{env["PATH"]}'
    skip = '|'.join(WITHOUT)
    passed, failed = 0, 0
    for suite in SUITES:
        program = os.path.join(home(context.cache), f'{suite}.test')
        place = os.path.join(source, suite)
        listed = subprocess.run([program, '-test.list', '.'], cwd=place, env=env, capture_output=True, text=True)
        for test in re.findall(r'^Test\S*$', listed.stdout, re.M):
            if context.arguments.filter not in test:
                continue
            log = os.path.join(context.directory, f'{test}.log')
            command = [program, '-test.run', f'^{test}$', '-test.skip', skip, '-test.v', '-bin-dir', tools]
            ended = run_test(command, place, env, log)
            if ended == 'PASS':
                passed += 1
                os.remove(log)
            elif ended:
                failed += 1
                print(f'{suite}: {test}: {ended}; {log}', flush=True)
        print(f'{suite}: so far {passed} passed, {failed} failed', flush=True)
    return passed, failed


def run_test(command, place, env, log):
    """How a test ended: PASS, what was wrong with it, or None when it was not run."""
    with open(log, 'w') as file:
        test = subprocess.Popen(command, cwd=place, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            test.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(test.pid, 9)
            test.wait()
            subprocess.run(['pkill', '-9', '-x', 'etcd'])
            return f'no end after {LIMIT} s'
    with open(log, errors='replace') as file:
        results = re.findall(r'^--- (PASS|FAIL|SKIP): ', file.read(), re.M)
    if test.returncode:
        return f'exit status {test.returncode}'
    if 'PASS' in results:
        return 'PASS'
    # Left out here, or skipped by itself.
    return None
