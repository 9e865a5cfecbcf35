"""Patroni with PostgreSQL on three members of ours: who is primary when something dies.

Three Patroni nodes on loopback keep their state in our store through its JSON gateway (their `etcd3` section), over TLS
and as a user of etcd with a role of its own. Somebody writes all the time. What must hold, each a check:

1. one primary and two replicas that stream, one of them synchronous;
2. the store's leader is killed: the primary stays, on its timeline, and writes go on;
3. the primary is killed: another one is promoted within the TTL, and nothing that was acknowledged is lost;
4. the one that was killed comes back as a replica;
5. all members of the store are killed: the primary gives up writing, as Patroni promises when it knows of nobody;
6. they come back: there is a primary again, writes go on, and nothing that was acknowledged is lost.
"""
import base64
import glob
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from members import Members, until

VERSION = '4.1.5'
USER = 'postgres'
NODES = ['n1', 'n2', 'n3']
TTL, LOOP, RETRY = 20, 2, 8
# A promotion needs the TTL to end, a round of everybody, and a busy machine's time to start processes.
PROMOTED = TTL + 2 * LOOP + 25
PYTHON = '/usr/bin/python3'  # One that other users can run too.


def prepare(cache):
    """Installs PostgreSQL (Debian) and Patroni (PyPI, in an environment of its own)."""
    home = os.path.join(cache, f'patroni-{VERSION}')
    done = os.path.join(home, 'is-ready')
    if not glob.glob('/usr/lib/postgresql/*/bin/postgres'):
        print('==> installing postgresql', flush=True)
        env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
        for command in (['update', '-qq'], ['install', '-y', '-qq', 'postgresql', 'python3-venv']):
            if subprocess.run(['apt-get', *command], env=env, stdout=subprocess.DEVNULL).returncode:
                return 'PostgreSQL could not be installed'
    if os.path.exists(done):
        return None
    if subprocess.run([PYTHON, '-m', 'venv', '--clear', os.path.join(home, 'venv')]).returncode:
        return 'no environment could be made: python3-venv is missing'
    pip = [os.path.join(home, 'venv', 'bin', 'python'), '-m', 'pip', '--disable-pip-version-check', 'install', '-q']
    if subprocess.run([*pip, f'patroni[etcd3]=={VERSION}', 'psycopg2-binary']).returncode:
        return 'Patroni could not be installed'
    open(done, 'w').close()
    return None


class Node:
    """A Patroni node and its PostgreSQL."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        number = NODES.index(name) + 1
        self.rest, self.port = 8008 + number, 5432 + number
        self.directory = os.path.join(cluster.directory, name)
        self.process = None

    def configure(self):
        """Writes its configuration: JSON, which is YAML too."""
        store = self.cluster.members
        os.makedirs(self.directory, mode=0o700)
        local = '127.0.0.1/32'
        config = {
            'log': {'level': os.environ.get('PATRONI_LOG', 'INFO')},
            'scope': 'demo', 'name': self.name, 'namespace': '/service/',
            'restapi': {'listen': f'127.0.0.1:{self.rest}', 'connect_address': f'127.0.0.1:{self.rest}'},
            'etcd3': {
                'hosts': [re.sub('^https://', '', store.client_url(at)) for at in range(3)], 'protocol': 'https',
                'cacert': self.cluster.authority, 'username': 'patroni', 'password': 'secret'},
            'bootstrap': {
                'dcs': {
                    'ttl': TTL, 'loop_wait': LOOP, 'retry_timeout': RETRY, 'maximum_lag_on_failover': 1048576,
                    'synchronous_mode': True, 'postgresql': {'use_pg_rewind': True, 'parameters': {
                        'wal_log_hints': 'on', 'shared_buffers': '16MB', 'max_connections': 50}}},
                'initdb': [{'encoding': 'UTF8'}, 'data-checksums', {'locale': 'C'}]},
            'postgresql': {
                'listen': f'127.0.0.1:{self.port}', 'connect_address': f'127.0.0.1:{self.port}',
                'data_dir': os.path.join(self.directory, 'data'), 'bin_dir': self.cluster.postgres,
                'pgpass': os.path.join(self.directory, 'pgpass'),
                'authentication': {'superuser': {'username': USER, 'password': 'p'},
                                   'replication': {'username': 'replicator', 'password': 'p'},
                                   'rewind': {'username': 'rewinder', 'password': 'p'}},
                'pg_hba': [f'host all all {local} trust', f'host replication all {local} trust', 'local all all trust'],
                'parameters': {'unix_socket_directories': self.directory}},
        }
        with open(os.path.join(self.directory, 'patroni.yml'), 'w') as file:
            json.dump(config, file, indent=1)
        subprocess.run(['chown', '-R', USER, self.directory], check=True)

    def boot(self):
        """Starts Patroni, which starts PostgreSQL."""
        with open(os.path.join(self.cluster.directory, f'{self.name}.log'), 'ab') as log:
            self.process = subprocess.Popen(
                ['setpriv', f'--reuid={USER}', f'--regid={self.cluster.group}', '--clear-groups', '--',
                 os.path.join(self.cluster.environment, 'bin', 'python'), '-m', 'patroni',
                 os.path.join(self.directory, 'patroni.yml')],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8', 'HOME': self.directory})

    def kill(self):
        """Kills Patroni and PostgreSQL as a crash of their host would."""
        self.process.kill()
        self.process.wait()
        with open(os.path.join(self.directory, 'data', 'postmaster.pid')) as file:
            postmaster = int(file.readline())
        os.kill(postmaster, signal.SIGKILL)

    def answers(self, path):
        """Whether its REST interface says yes to a question such as /primary."""
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{self.rest}{path}', timeout=3) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def says(self):
        """What its REST interface says of it."""
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{self.rest}/patroni', timeout=3) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except (OSError, ValueError):
            return {}


class Cluster:
    """The store, the nodes, and what they share."""

    def __init__(self, context):
        self.directory = context.directory
        os.chmod(context.directory, 0o755)
        self.members = Members(context.binary, os.path.join(context.directory, 'store'), 'tls', ['--bcrypt-cost=4'])
        self.authority = os.path.join(context.directory, 'ca.crt')
        shutil.copy(self.members.file('ca.crt'), self.authority)
        os.chmod(self.authority, 0o644)
        self.postgres = os.path.dirname(sorted(glob.glob('/usr/lib/postgresql/*/bin/postgres'))[-1])
        self.group = pwd.getpwnam(USER).pw_gid
        # The cache lies where another user can't look; the environment is shown to it elsewhere.
        self.environment = os.path.join(context.directory, 'venv')
        os.makedirs(self.environment)
        subprocess.run(['mount', '--bind', os.path.join(context.cache, f'patroni-{VERSION}', 'venv'), self.environment],
                       check=True)
        self.nodes = {name: Node(self, name) for name in NODES}

    def make_users(self):
        """Switches auth on in the store, with a user for Patroni that may touch its own keys alone."""
        ask, own = self.members.ask, {'key': b64('/service/'), 'range_end': b64('/service0')}
        for path, body in [
                ('auth/user/add', {'name': 'root', 'password': 'r'}), ('auth/role/add', {'name': 'root'}),
                ('auth/user/grant', {'user': 'root', 'role': 'root'}), ('auth/role/add', {'name': 'patroni'}),
                ('auth/role/grant', {'name': 'patroni', 'perm': {'permType': 'READWRITE', **own}}),
                ('auth/user/add', {'name': 'patroni', 'password': 'secret'}),
                ('auth/user/grant', {'user': 'patroni', 'role': 'patroni'}), ('auth/enable', {})]:
            ask(path, body)

    def primary(self):
        """The node that says it is primary, if there is exactly one."""
        found = [node for node in self.nodes.values() if node.answers('/primary')]
        return found[0] if len(found) == 1 else None

    def is_whole(self):
        """Whether one is primary and two stream from it, one of them synchronous."""
        states = sorted((node.says().get('role', ''), node.says().get('replication_state', '')) for node in self.nodes.values())
        streaming = [state for role, state in states if role in ('replica', 'sync_standby', 'standby') and state == 'streaming']
        return self.primary() if len(streaming) == 2 and any(n.answers('/synchronous') for n in self.nodes.values()) else None

    def store_leaders(self):
        """The numbers of the members that lead the store: one, or none for a moment."""
        found = []
        for at in range(3):
            try:
                status = self.members.ask('maintenance/status', at=at, user=('root', 'r'))
            except OSError:
                continue
            if status.get('leader') == status['header']['member_id']:
                found.append(at)
        return found

    def logs(self):
        """The ends of the nodes' logs."""
        text = []
        for name in NODES:
            with open(os.path.join(self.directory, f'{name}.log'), errors='replace') as file:
                text.append(f'--- {name}\n' + ''.join(file.readlines()[-15:]))
        return '\n'.join(text)

    def stop(self):
        """Ends all."""
        for node in self.nodes.values():
            if node.process and node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes.values():
            if node.process:
                try:
                    node.process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    node.process.kill()
        self.members.stop()
        subprocess.run(['umount', '-l', self.environment])


class Writer(threading.Thread):
    """Writes numbers to whichever node takes writes, one after another, and remembers which were acknowledged."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        ports = [str(node.port) for node in cluster.nodes.values()]
        self.url = (f'host={",".join(["127.0.0.1"] * 3)} port={",".join(ports)} user={USER} password=p dbname=postgres '
                    'connect_timeout=3 target_session_attrs=read-write')
        self.acknowledged, self.times, self.ended = [], [time.monotonic()], threading.Event()

    def sql(self, text, timeout=10):
        """Runs a statement; its answer, or nothing when there was none."""
        try:
            said = subprocess.run(['psql', '-XAtq', '-c', text, self.url], capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return None
        return said.stdout.strip() if said.returncode == 0 else None

    def run(self):
        number = 0
        while not self.ended.is_set():
            number += 1
            if self.sql(f'INSERT INTO written VALUES ({number})') is not None:
                self.acknowledged.append(number)
                self.times.append(time.monotonic())
            self.ended.wait(0.1)

    def lost(self):
        """Numbers that were acknowledged and are not there."""
        # Taken first: what is acknowledged meanwhile need not be in the answer.
        acknowledged = set(self.acknowledged)
        there = until('the table can be read', lambda: self.sql('SELECT string_agg(n::text, \',\') FROM written'))
        return acknowledged - {int(number) for number in there.split(',')}

    def wait_for_more(self, count=5, patience=60):
        """Waits until so many more writes were acknowledged."""
        before = len(self.acknowledged)
        until('writes go on', lambda: len(self.acknowledged) >= before + count, patience=patience)

    def longest_pause(self, since):
        """The longest time without an acknowledged write since then, in seconds."""
        times = [since, *[at for at in self.times if at > since], time.monotonic()]
        return max(late - early for early, late in zip(times, times[1:]))


def b64(text):
    """Bytes as JSON of etcd has them."""
    return base64.b64encode(text.encode()).decode()


def starts(cluster, writer):
    """One primary and two replicas come up."""
    cluster.nodes['n1'].boot()
    until('there is a primary', cluster.primary, patience=180)
    for name in NODES[1:]:
        cluster.nodes[name].boot()
    until('two replicas stream', cluster.is_whole, patience=240)
    until('a table is made', lambda: writer.sql('CREATE TABLE IF NOT EXISTS written (n int)') is not None)
    writer.start()
    writer.wait_for_more()
    return f'{cluster.primary().name} is primary'


def store_leader_dies(cluster, writer):
    """No failover, and writes go on."""
    primary, timeline = cluster.primary(), cluster.primary().says()['timeline']
    leader = until('the store has a leader', cluster.store_leaders)[0]
    began = time.monotonic()
    cluster.members.kill(leader)
    while time.monotonic() < began + TTL + LOOP:
        time.sleep(1)
    writer.wait_for_more()
    pause = writer.longest_pause(began)
    now = cluster.primary()
    assert now is primary and now.says()['timeline'] == timeline, f'{primary.name} did not stay primary'
    cluster.members.boot(leader)
    cluster.members.wait(leader)
    assert pause < TTL, f'no writes for {pause:.1f} s'
    return f'm{leader + 1} led and was killed; {primary.name} stays primary, longest pause of writes {pause:.1f} s'


def primary_dies(cluster, writer):
    """Another node is promoted within the TTL, and has all that was acknowledged."""
    old, began = cluster.primary(), time.monotonic()
    old.kill()
    new = until('another primary', lambda: cluster.primary() not in (None, old) and cluster.primary(), patience=PROMOTED)
    took = time.monotonic() - began
    writer.wait_for_more()
    lost = writer.lost()
    assert not lost, f'{len(lost)} acknowledged writes are lost'
    cluster.killed = old
    return f'{old.name} was killed; {new.name} is primary after {took:.1f} s (TTL {TTL} s)'


def killed_returns(cluster, _writer):
    """The killed one follows the new primary."""
    cluster.killed.boot()
    primary = until('two replicas stream again', cluster.is_whole, patience=180)
    assert primary is not cluster.killed
    return f'{cluster.killed.name} follows {primary.name}'


def store_goes_away(cluster, writer):
    """Without its store the primary gives up writing."""
    primary, began = cluster.primary(), time.monotonic()
    for at in range(3):
        cluster.members.kill(at)
    until('the primary demotes itself', lambda: not any(n.answers('/primary') for n in cluster.nodes.values()),
          patience=PROMOTED + RETRY)
    took = time.monotonic() - began
    until('nobody takes writes', lambda: writer.sql('CREATE TABLE never (n int)') is None)
    return f'{primary.name} demoted itself after {took:.1f} s'


def store_returns(cluster, writer):
    """With its store back there is a primary, and nothing is lost."""
    for at in range(3):
        cluster.members.boot(at)
    for at in range(3):
        cluster.members.wait(at)
    began = time.monotonic()
    primary = until('there is a primary again', cluster.primary, patience=PROMOTED + RETRY)
    took = time.monotonic() - began
    writer.wait_for_more()
    until('two replicas stream once more', cluster.is_whole, patience=180)
    lost = writer.lost()
    assert not lost, f'{len(lost)} acknowledged writes are lost'
    return f'{primary.name} is primary {took:.1f} s after the store is back; {len(writer.acknowledged)} writes, none lost'


CHECKS = [starts, store_leader_dies, primary_dies, killed_returns, store_goes_away, store_returns]


def run(context):
    """Goes through all checks; the first that fails ends it, as the others build on it."""
    if os.geteuid() != 0:
        raise AssertionError('needs root: PostgreSQL runs as a user of its own')
    cluster = Cluster(context)
    passed, check = 0, starts
    try:
        cluster.members.start()
        cluster.make_users()
        for node in cluster.nodes.values():
            node.configure()
        writer = Writer(cluster)
        for check in CHECKS:
            print(f'{check.__name__:<20} {check(cluster, writer)}', flush=True)
            passed += 1
        writer.ended.set()
    except (AssertionError, OSError, KeyError) as error:
        print(f'{check.__name__:<20} FAILED: {error}\n{cluster.logs()}\n{cluster.members.logs()}', file=sys.stdout)
    finally:
        cluster.stop()
    return passed, len(CHECKS) - passed
