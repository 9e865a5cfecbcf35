"""Crate etcd-client's own tests, unmodified, from the published crate, run against our members.

Upstream runs them against one etcd, except those that are marked as ignored, which want a certain server each. Here all
run against three members, except `test_move_leader`: it demands what etcd answers only where there is one member.
"""
import os
import re
import shutil
import subprocess
import threading

from members import Members, install, until

VERSION = '0.21.1'
# Tests that move the leader of a cluster of one: on three members of a real etcd it fails too.
ALONE = ['test_move_leader']
TOKEN = ['--auth-token-ttl=2', '--bcrypt-cost=4']
NODE4 = '127.0.0.4'


def prepare(cache):
    """Fetches the crate's source through cargo and builds its tests."""
    home = os.path.join(cache, f'etcd-client-{VERSION}')
    done = os.path.join(home, 'tests-are-built')
    if os.path.exists(done):
        return None
    cargo = os.environ.get('CARGO', 'cargo')
    missing = install({'protoc': 'protobuf-compiler'})
    if missing:
        return missing
    probe = os.path.join(home, 'probe')
    os.makedirs(os.path.join(probe, 'src'), exist_ok=True)
    with open(os.path.join(probe, 'Cargo.toml'), 'w') as file:
        file.write('[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n\n[workspace]\n\n'
                   f'[dependencies]\netcd-client = "={VERSION}"\n')
    open(os.path.join(probe, 'src', 'lib.rs'), 'w').close()
    metadata = subprocess.run([cargo, 'metadata', '--format-version=1'], cwd=probe, capture_output=True, text=True)
    found = re.search(rf'"manifest_path":"([^"]*/etcd-client-{re.escape(VERSION)})/Cargo.toml"', metadata.stdout)
    if not found:
        return f'the crate could not be fetched: {metadata.stderr.strip()[-300:]}'
    source = os.path.join(home, 'source')
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(found[1], source)
    print(f'==> building the tests of etcd-client {VERSION}', flush=True)
    built = subprocess.run([cargo, 'test', '--no-run', '--locked', '--target-dir', os.path.join(home, 'target')], cwd=source)
    if built.returncode:
        return 'its tests could not be built'
    open(done, 'w').close()
    return None


def programs(cache):
    """The built test programs: of the client, of its namespaces, and of the crate itself."""
    deps = os.path.join(cache, f'etcd-client-{VERSION}', 'target', 'debug', 'deps')
    newest = {}
    for name in os.listdir(deps):
        found = re.fullmatch(r'(client|namespace|etcd_client)-[0-9a-f]{16}', name)
        path = os.path.join(deps, name)
        if found and os.access(path, os.X_OK) and os.path.getmtime(path) > newest.get(found[1], (0, ''))[0]:
            newest[found[1]] = (os.path.getmtime(path), path)
    return {name: path for name, (_, path) in newest.items()}


def call(program, *arguments):
    """Runs a test program, shows what it says, and gives how many passed and failed."""
    said = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=600)
    print(said.stdout + said.stderr, flush=True)
    found = re.search(r'(\d+) passed; (\d+) failed', said.stdout)
    if not found:
        return 0, 1
    return int(found[1]), int(found[2])


def make_root(members):
    """The user that the tests want to be there."""
    for path, body in [('auth/user/add', {'name': 'root', 'password': 'rootpwd'}), ('auth/role/add', {'name': 'root'}),
                       ('auth/user/grant', {'user': 'root', 'role': 'root'})]:
        members.ask(path, body)


def join_node4(members):
    """Starts node4 as soon as somebody has added it, as upstream's script does."""
    url = f'http://{NODE4}:'

    def is_added():
        found = members.ask('cluster/member/list')['members']
        return any('http://node4:2380' in member['peerURLs'] for member in found)
    until('node4 is added', is_added)
    members.boot_another('node4', url + '2379', url + '2380', 'http://node4:2380')


def with_node4(context, program):
    """The test that adds a member, which wants a host of the name node4."""
    hosts = os.path.join(context.directory, 'hosts')
    with open('/etc/hosts') as old, open(hosts, 'w') as new:
        new.write(old.read() + f'\n{NODE4} node4\n')
    subprocess.run(['mount', '--bind', hosts, '/etc/hosts'], check=True)
    with Members(context.binary, os.path.join(context.directory, 'joined'), flags=TOKEN) as members:
        joining = threading.Thread(target=join_node4, args=(members,), daemon=True)
        joining.start()
        result = call(program, 'test_cluster', '--ignored')
        joining.join(timeout=1)
    return result


def run(context):
    """Runs all of them."""
    found = programs(context.cache)
    results = []
    skip = [word for name in ALONE for word in ('--skip', name)]
    with Members(context.binary, os.path.join(context.directory, 'three'), flags=TOKEN) as members:
        make_root(members)
        results.append(call(found['client'], *skip))
        results.append(call(found['namespace']))
        results.append(call(found['etcd_client']))
    small = [*TOKEN, '--max-request-bytes=10240']
    with Members(context.binary, os.path.join(context.directory, 'small'), flags=small):
        results.append(call(found['client'], 'test_get_stream', '--ignored'))
    results.append(with_node4(context, found['client']))
    with Members(context.binary, os.path.join(context.directory, 'alone'), flags=TOKEN, count=1):
        results.append(call(found['client'], *ALONE))
    return sum(passed for passed, _ in results), sum(failed for _, failed in results)
