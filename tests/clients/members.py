"""Three members of a store, ours or a real etcd, on fixed loopback ports of a network namespace of its own.

Both are started with the same flags, as etcd's users would: what a client sees of the one must be what it sees of the other.
"""
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request

MEMBERS = 3
CLIENT_PORT = 2379
READY = 'ready to serve client requests'
PATIENCE = 60


class Members:
    """Members m1, m2, m3. `mode` is plain, tls (the server shows a certificate) or mtls (the client too)."""

    def __init__(self, binary, directory, mode='plain', flags=(), count=MEMBERS):
        self.binary, self.directory, self.mode, self.flags = binary, directory, mode, list(flags)
        self.names = [f'm{number}' for number in range(1, count + 1)]
        self.processes = {}
        os.makedirs(directory, exist_ok=True)
        if mode != 'plain':
            certificates(directory)

    def file(self, name):
        """A file of this group."""
        return os.path.join(self.directory, name)

    def client_url(self, at):
        """Where clients find a member."""
        scheme = 'http' if self.mode == 'plain' else 'https'
        return f'{scheme}://127.0.0.1:{CLIENT_PORT + 10 * at}'

    def peer_url(self, at):
        """Where members find a member."""
        scheme = 'http' if self.mode == 'plain' else 'https'
        return f'{scheme}://127.0.0.1:{CLIENT_PORT + 10 * at + 1}'

    def endpoints(self):
        """All members' client URLs."""
        return ','.join(self.client_url(at) for at in range(len(self.names)))

    def arguments(self, at):
        """The command line of one member."""
        initial = ','.join(f'{name}={self.peer_url(n)}' for n, name in enumerate(self.names))
        arguments = [
            self.binary, '--name', self.names[at], '--data-dir', self.file(self.names[at]),
            '--listen-client-urls', self.client_url(at), '--advertise-client-urls', self.client_url(at),
            '--listen-peer-urls', self.peer_url(at), '--initial-advertise-peer-urls', self.peer_url(at),
            '--initial-cluster', initial, '--initial-cluster-token', 'clients',
        ]
        if self.mode != 'plain':
            for side in ('', 'peer-'):
                arguments += [f'--{side}cert-file', self.file('server.crt'), f'--{side}key-file', self.file('server.key')]
            arguments += ['--peer-trusted-ca-file', self.file('ca.crt'), '--peer-client-cert-auth']
        if self.mode == 'mtls':
            arguments += ['--trusted-ca-file', self.file('ca.crt'), '--client-cert-auth']
        return arguments + self.flags

    def boot(self, at):
        """Starts a member on what it has."""
        self.spawn(at, self.names[at], self.arguments(at))

    def boot_another(self, name, client, peer, advertised):
        """Starts a member that somebody has added to the others; without TLS."""
        initial = ','.join(f'{name}={self.peer_url(n)}' for n, name in enumerate(self.names))
        self.spawn(name, name, [
            self.binary, '--name', name, '--data-dir', self.file(name), '--listen-client-urls', client,
            '--advertise-client-urls', client, '--listen-peer-urls', peer, '--initial-advertise-peer-urls', advertised,
            '--initial-cluster', f'{initial},{name}={advertised}', '--initial-cluster-token', 'clients',
            '--initial-cluster-state', 'existing', *self.flags])

    def spawn(self, key, name, arguments):
        """Starts a process whose words go to a log of its name."""
        with open(self.file(f'{name}.log'), 'ab') as log:
            self.processes[key] = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def ask(self, path, body=None, at=0, user=None):
        """Asks a member through its JSON gateway, as a user (name, password) or nobody."""
        request = urllib.request.Request(f'{self.client_url(at)}/v3/{path}', json.dumps(body or {}).encode())
        if user:
            login = {'name': user[0], 'password': user[1]}
            request.add_header('Authorization', self.ask('auth/authenticate', login, at)['token'])
        with self.open(request, 30) as answer:
            return json.load(answer)

    def open(self, request, timeout):
        """Asks a member over HTTP, showing a certificate where there are some."""
        context = None
        if self.mode != 'plain':
            context = ssl.create_default_context(cafile=self.file('ca.crt'))
            context.load_cert_chain(self.file('client.crt'), self.file('client.key'))
        return urllib.request.urlopen(request, timeout=timeout, context=context)

    def start(self):
        """Starts all and waits until they serve."""
        for at in range(len(self.names)):
            self.boot(at)
        for at in range(len(self.names)):
            self.wait(at)
        return self

    def wait(self, at):
        """Waits until a member serves."""
        until(f'{self.names[at]} serves', lambda: self.healthy(at), lambda: self.alive(at))

    def healthy(self, at):
        """Whether a member says that it serves."""
        try:
            with self.open(self.client_url(at) + '/health', 2) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False

    def alive(self, at):
        """Fails when a member has ended."""
        code = self.processes[at].poll()
        if code is not None:
            raise AssertionError(f'{self.names[at]} ended with {code}:\n{self.logs()}')

    def kill(self, at):
        """Kills a member as a crash would."""
        self.processes[at].kill()
        self.processes.pop(at).wait()

    def stop(self):
        """Ends all in order; what does not end is killed."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        ended = {}
        for at, process in self.processes.items():
            try:
                ended[at] = process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        return ended

    def logs(self, lines=12):
        """The ends of the members' logs."""
        text = []
        for name in self.names:
            try:
                with open(self.file(f'{name}.log'), errors='replace') as file:
                    text.append(f'--- {name}\n' + ''.join(file.readlines()[-lines:]))
            except FileNotFoundError:
                pass
        return '\n'.join(text)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def until(what, holds, check=lambda: None, patience=PATIENCE):
    """Waits until something holds, and gives what it said."""
    end = time.monotonic() + patience
    while True:
        found = holds()
        if found:
            return found
        check()
        if time.monotonic() > end:
            raise AssertionError(f'not within {patience} s: {what}')
        time.sleep(0.1)


def install(programs):
    """Installs the Debian packages of programs that are not here; says what could not be installed."""
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if not missing:
        return None
    print(f'==> installing {" ".join(missing)}', flush=True)
    for command in (['apt-get', 'update', '-qq'], ['apt-get', 'install', '-y', '-qq', *missing]):
        env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
        if subprocess.run(command, env=env, stdout=subprocess.DEVNULL).returncode:
            return f'{" ".join(missing)} could not be installed'
    return None


def certificates(directory):
    """An authority, a server's certificate for loopback, and clients' certificates: one of `client`, one of `root`."""
    def openssl(*arguments):
        subprocess.run(['openssl', *arguments], check=True, cwd=directory, capture_output=True)

    def key(name):
        openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', f'{name}.key')
    key('ca')
    openssl('req', '-x509', '-new', '-key', 'ca.key', '-subj', '/CN=clients', '-days', '2', '-out', 'ca.crt')
    for name in ('server', 'client', 'root'):
        key(name)
        openssl('req', '-new', '-key', f'{name}.key', '-subj', f'/CN={name}', '-out', f'{name}.csr')
        with open(os.path.join(directory, f'{name}.ext'), 'w') as file:
            file.write('subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n')
        openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial',
                '-days', '2', '-extfile', f'{name}.ext', '-out', f'{name}.crt')
