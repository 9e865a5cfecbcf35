"""Three members of a store with TLS on loopback: Trireme's, or real etcd to compare with.

Both take the same flags, so one class starts either. Members can be killed and started again, and
a `Killer` does that to whoever leads, again and again.
"""
import json, os, pathlib, random, signal, socket, subprocess, threading, time

NAMES = ('m0', 'm1', 'm2')


def free_ports(count):
    """The first of `count` ports in a row that nobody listens on, below the kernel's own range."""
    for _ in range(200):
        base = random.randrange(20000, 31000, 20)
        held = []
        try:
            for port in range(base, base + count):
                held.append(socket.socket())
                held[-1].bind(('127.0.0.1', port))
            return base
        except OSError:
            continue
        finally:
            for one in held:
                one.close()
    raise RuntimeError('no free ports')


def certificates(directory):
    """An authority and one certificate for members and clients alike, made by openssl."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / 'ext').write_text('subjectAltName=IP:127.0.0.1,DNS:localhost\n'
                                   'extendedKeyUsage=serverAuth,clientAuth\n')
    ec = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
    for command in (f'req -x509 {ec} -keyout ca.key -out ca.crt -subj /CN=ca -days 30',
                    f'req {ec} -keyout all.key -out all.csr -subj /CN=member',
                    'x509 -req -in all.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out all.crt '
                    '-days 30 -extfile ext'):
        subprocess.run(['openssl', *command.split()], cwd=directory, check=True,
                       stderr=subprocess.DEVNULL)


class Members:
    """Three members in a directory; `kind` is trireme or etcd."""

    def __init__(self, kind, binary, directory, oracles):
        self.command = [str(binary), 'store'] if kind == 'trireme' else [str(binary)]
        self.kind, self.dir, self.oracles = kind, pathlib.Path(directory), pathlib.Path(oracles)
        self.certs, self.base = self.dir / 'tls', free_ports(6)
        certificates(self.certs)
        self.running, self.ids, self.lock = {}, {}, threading.Lock()

    def client(self, i):
        return f'https://127.0.0.1:{self.base + i}'

    def peer(self, i):
        return f'https://127.0.0.1:{self.base + 3 + i}'

    @property
    def endpoints(self):
        return ','.join(self.client(i) for i in range(3))

    def start(self, i):
        """Starts one member; it takes up what its directory holds."""
        tls, name = self.certs, NAMES[i]
        flags = {'name': name, 'data-dir': self.dir / name,
                 'listen-client-urls': self.client(i), 'advertise-client-urls': self.client(i),
                 'listen-peer-urls': self.peer(i), 'initial-advertise-peer-urls': self.peer(i),
                 'initial-cluster': ','.join(f'{n}={self.peer(j)}' for j, n in enumerate(NAMES)),
                 'cert-file': tls / 'all.crt', 'key-file': tls / 'all.key',
                 'trusted-ca-file': tls / 'ca.crt', 'client-cert-auth': 'true',
                 'peer-cert-file': tls / 'all.crt', 'peer-key-file': tls / 'all.key',
                 'peer-trusted-ca-file': tls / 'ca.crt', 'peer-client-cert-auth': 'true'}
        if self.kind == 'etcd':
            flags['log-level'] = 'error'
        with open(self.dir / f'{name}.log', 'ab') as log:
            self.running[i] = subprocess.Popen(
                [*self.command, *(f'--{k}={v}' for k, v in flags.items())],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def up(self):
        """Starts all, and returns when every one knows a leader."""
        for i in range(3):
            self.start(i)
        self.wait(lambda: all(self.status(i) and self.status(i)['leader'] for i in range(3)), 60)
        self.ids = {self.status(i)['header']['member_id']: i for i in range(3)}

    def status(self, i):
        """What a member says of itself; None when it does not answer."""
        tls = self.certs
        done = subprocess.run(
            [self.oracles / 'bin/etcdctl', '--endpoints', self.client(i), '--cacert', tls / 'ca.crt',
             '--cert', tls / 'all.crt', '--key', tls / 'all.key', '--command-timeout=1s',
             '--dial-timeout=1s', 'endpoint', 'status', '-w', 'json'], capture_output=True)
        try:
            return json.loads(done.stdout)[0]['Status']
        except (ValueError, LookupError, TypeError):
            return None

    def leader(self):
        """Who leads, as more than one running member sees it."""
        seen = [s.get('leader') for s in map(self.status, list(self.running)) if s]
        for one in seen:
            if one and seen.count(one) > 1:
                return self.ids.get(one)
        return None

    def kill(self, i):
        process = self.running.pop(i)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def ended(self):
        """Members that ended though nobody killed them."""
        return [NAMES[i] for i, p in list(self.running.items()) if p.poll() is not None]

    def wait(self, what, seconds):
        end = time.time() + seconds
        while not what():
            if time.time() > end or self.ended():
                raise RuntimeError(f'{self.kind} in {self.dir} does not get there: {self.ended()}')
            time.sleep(0.1)

    def down(self):
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


class Killer(threading.Thread):
    """Kills the leader every so many seconds and starts it again a moment later."""

    def __init__(self, members, seconds):
        super().__init__(daemon=True)
        self.members, self.seconds = members, seconds
        self.kills, self.failed, self.over = 0, None, threading.Event()

    def run(self):
        try:
            while not self.over.wait(self.seconds):
                self.once()
        except RuntimeError as e:
            self.failed = str(e)

    def once(self):
        leader = self.members.leader()
        if leader is None:
            return
        self.members.kill(leader)
        self.kills += 1
        self.over.wait(0.5)
        self.members.start(leader)
        # the next kill would take the majority if this one were not back
        self.members.wait(lambda: (self.members.status(leader) or {}).get('leader'), 60)

    def stop(self):
        self.over.set()
        self.join()
