"""What a real kube-apiserver does in a second on three members of each store.

ConfigMaps are created by a few clients, listed, changed under a watch, and deleted; the processor
time of the members is counted beside the wall clock, as the clients share the machine with them.
"""
import json, os, pathlib, statistics, sys, threading, time

COUNT, CLIENTS, PATH = 1000, 8, '/api/v1/namespaces/default/configmaps'
TICKS = os.sysconf('SC_CLK_TCK')


def processor_seconds(processes):
    """User and system time that processes have taken so far."""
    total = 0
    for process in processes:
        fields = pathlib.Path(f'/proc/{process.pid}/stat').read_text().rsplit(')', 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(processes):
    """Their resident memory in MiB."""
    pages = sum(int(pathlib.Path(f'/proc/{p.pid}/statm').read_text().split()[1]) for p in processes)
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


class Bench:
    """One kind of store: `figures` has what -> (figure, unit)."""

    def __init__(self, transcripts, kubeconfig, members):
        sys.path.insert(0, str(transcripts))
        from transcript import Server
        self.connect = lambda: Server.from_kubeconfig(kubeconfig)
        self.members, self.figures = list(members.running.values()), {}

    def ask(self, server, method, path, body=None):
        kind = 'application/merge-patch+json' if method == 'PATCH' else 'application/json'
        status, _, answer = server.call(method, path, body and json.dumps(body), {'Content-Type': kind})
        if status >= 300:
            raise RuntimeError(f'{method} {path}: {status} {answer}')
        return answer

    def each(self, title, method, path, body):
        """COUNT requests by CLIENTS clients; counts requests a second and what the members took."""
        took, failed = [], []

        def client(mine):
            server = self.connect()
            try:
                for i in range(mine, COUNT, CLIENTS):
                    started = time.time()
                    self.ask(server, method, path(i), body(i))
                    took.append(time.time() - started)
            except (RuntimeError, OSError) as e:
                failed.append(e)

        before, started = processor_seconds(self.members), time.time()
        threads = [threading.Thread(target=client, args=[i]) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        seconds, took = time.time() - started, sorted(took)
        self.figures[f'{title}: a second'] = COUNT / seconds, '/s'
        self.figures[f'{title}: median'] = took[COUNT // 2] * 1e3, 'ms'
        self.figures[f'{title}: 99th'] = took[COUNT * 99 // 100] * 1e3, 'ms'
        used = processor_seconds(self.members) - before
        self.figures[f'{title}: processor time of the members, each'] = used / COUNT * 1e6, 'us'

    def listing(self, title, query):
        server, took = self.connect(), []
        for _ in range(5):
            started, token, items = time.time(), '', 0
            while True:
                answer = self.ask(server, 'GET', f'{PATH}?{query}{token}')
                items += len(answer['items'])
                if not answer['metadata'].get('continue'):
                    break
                token = '&continue=' + answer['metadata']['continue']
            took.append(time.time() - started)
        if items < COUNT:
            raise RuntimeError(f'{title}: {items} of {COUNT}')
        self.figures[title] = statistics.median(took) * 1e3, 'ms'

    def watch(self):
        """From before a patch is sent until a watch of the API server shows its event."""
        server, seen, version = self.connect(), {}, None
        version = self.ask(server, 'GET', f'{PATH}?limit=1')['metadata']['resourceVersion']
        arrived, total = threading.Condition(), 200

        def watcher():
            conn = self.connect()
            link = conn.connect(60)
            link.request('GET', f'{PATH}?watch=1&resourceVersion={version}', headers=conn.headers)
            for line in link.getresponse():
                event = json.loads(line)
                with arrived:
                    seen[event['object']['metadata']['resourceVersion']] = time.time()
                    arrived.notify()
                    if len(seen) == total:
                        return

        threading.Thread(target=watcher, daemon=True).start()
        took = []
        for i in range(total):
            started = time.time()
            at = self.ask(server, 'PATCH', f'{PATH}/c-{i}', {'data': {'n': str(started)}})
            at = at['metadata']['resourceVersion']
            with arrived:
                if not arrived.wait_for(lambda: at in seen, 30):
                    raise RuntimeError('an event did not come')
                took.append(seen[at] - started)
        took.sort()
        self.figures['patch until its event: median'] = took[total // 2] * 1e3, 'ms'
        self.figures['patch until its event: 99th'] = took[total * 99 // 100] * 1e3, 'ms'

    def run(self):
        server = self.connect()
        for i in range(50):  # warm both ends
            self.ask(server, 'POST', PATH, {'metadata': {'name': f'w-{i}'}})
        self.each('create', 'POST', lambda _: PATH,
                  lambda i: {'metadata': {'name': f'c-{i}'}, 'data': {'v': 'x' * 200}})
        self.listing('list 1,000 from the cache', 'x=1')
        self.listing('list 1,000 in pages of 100', 'limit=100')
        self.watch()
        self.each('delete', 'DELETE', lambda i: f'{PATH}/c-{i}', lambda _: None)
        self.figures['memory of the three members'] = memory(self.members), 'MiB'
        return self.figures


def table(runs):
    """A line a figure: {title: [figures of each trial]}, medians."""
    yield '%-58s' % 'median of the trials' + ''.join('%14s' % title for title in runs)
    for what, (_, unit) in next(iter(runs.values()))[0].items():
        middle = [statistics.median(f[what][0] for f in trials) for trials in runs.values()]
        yield '%-58s' % what + ''.join('%11.1f %-2s' % (m, unit) for m in middle)
