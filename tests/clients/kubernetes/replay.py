"""Replays the recorded transcripts against one kube-apiserver, file by file.

The tools that come with the transcripts do the comparing; this runs them side by side, keeps what
they print, and says of each failed case whether the server had said that its store was away.
"""
import concurrent.futures, json, os, pathlib, re, subprocess, sys, time

HERE = pathlib.Path(__file__).resolve().parent

# What kube-apiserver says when the store is away or changes its leader: no wrong answer, but none.
AWAY = re.compile(r'etcdserver: |leader changed|context deadline exceeded|request timed out|'
                  r'transport is closing|connection refused|TimeoutError|timed out|Unavailable|'
                  r'got 50[034]|too many requests|storage is \(re\)initializing|error reading from server|'
                  r'connection error|unexpected EOF|ServiceUnavailable|client connection lost')


class Replay:
    """One run: `results` has file -> {passed, failed, cases: {case: problems}}."""

    def __init__(self, transcripts, kubeconfig, kubectl, out, filters, killing):
        self.killing = killing
        self.transcripts, self.out = pathlib.Path(transcripts), pathlib.Path(out)
        self.kubeconfig, self.kubectl, self.filters = kubeconfig, kubectl, filters
        self.results = {}
        self.out.mkdir(parents=True, exist_ok=True)

    def metrics(self):
        """What the API server counted."""
        done = subprocess.run([self.kubectl, '--kubeconfig', self.kubeconfig, 'get', '--raw',
                               '/metrics'], capture_output=True, text=True, timeout=300)
        return done.stdout

    def files(self, pattern):
        for path in sorted(self.transcripts.glob(pattern)):
            name = str(path.relative_to(self.transcripts))
            if not self.filters or any(f in name for f in self.filters):
                yield name

    def run(self, pattern, at_once, without=()):
        """All files of a pattern, so many at once."""
        names = [n for n in self.files(pattern) if n not in without]
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            for name, result in zip(names, pool.map(self.one, names)):
                self.results[name] = result

    def one(self, name):
        started, play = time.time(), self.session if name.endswith('.session') else self.cases
        result = play(name)
        # A busy machine makes cases fail that wait for something: those get a second chance. Not
        # while leaders are killed: there a wrong answer may be seen once only.
        again = [case for case in result['cases']
                 if not self.killing and case not in play(name, case)['cases']]
        for case in again:
            del result['cases'][case]
        result['passed'] += len(again)
        result['failed'] -= len(again)
        result.update(again=again, seconds=round(time.time() - started, 1))
        print('    %-58s %4d passed (%d when played again), %d failed (%.0f s)' % (
            name, result['passed'], len(again), result['failed'], result['seconds']), flush=True)
        return result

    def tool(self, log, script, *arguments):
        command = [self.transcripts / script]
        if self.killing and script == 'transcript.py':
            command = [HERE / 'undisturbed.py', log.with_suffix('.heard')]
        done = subprocess.run([sys.executable, *command, 'replay', '--kubeconfig', self.kubeconfig,
                               *arguments], capture_output=True, text=True,
                              env={**os.environ, 'TRANSCRIPTS': str(self.transcripts)})
        log.write_text(done.stdout + done.stderr)
        last = re.findall(r'^(\d+) passed, (\d+) failed', done.stdout, re.M)
        if not last:
            raise RuntimeError(f'{script} did not run: {(done.stdout + done.stderr)[-400:]}')
        return int(last[-1][0]), int(last[-1][1])

    def log(self, name, only):
        """Where a tool's output goes; that of a second chance does not hide the first."""
        return self.out / (name.replace('/', '-') + ('.again' if only else '') + '.txt')

    def cases(self, name, only=''):
        log = self.log(name, only)
        found = log.with_suffix('.json')
        passed, failed = self.tool(log, 'transcript.py', '--json', found, '--only', only,
                                   self.transcripts / name)
        cases = {c['case']: c['problems'] for c in json.loads(found.read_text()) if c['problems']}
        result = {'passed': passed, 'failed': failed, 'cases': cases}
        heard = log.with_suffix('.heard')
        if heard.exists():
            result['heard'] = json.loads(heard.read_text())
        return result

    def session(self, name, only=''):
        log = self.log(name, only)
        # the files end in the empty line that parts cases; the tool takes it for output
        copy = self.out / pathlib.Path(name).name
        copy.write_text((self.transcripts / name).read_text().rstrip('\n') + '\n')
        passed, failed = self.tool(log, 'session.py', '--jobs', '3', '--only', only, '--kubectl',
                                   self.kubectl, copy)
        cases, title = {}, pathlib.Path(name).stem + ': '
        for line in log.read_text().splitlines():
            if line.startswith(title):
                at = cases.setdefault(line, [])
            elif cases:
                at.append(line)
        return {'passed': passed, 'failed': failed, 'cases': cases}


def unanswered(text):
    """(all requests, those answered with 5xx or 429) in an API server's metrics."""
    every = failed = 0
    for labels, count in re.findall(r'^apiserver_request_total\{([^}]*)\} (\S+)', text, re.M):
        code = re.search(r'\bcode="(\d+)"', labels).group(1)
        every += float(count)
        failed += float(count) if code >= '500' or code == '429' else 0
    return int(every), int(failed)


def disturbed(results):
    """(answers that said that the store was away, cases played again, cases that never ran without)."""
    answers = cases = never = 0
    for result in results.values():
        for tries in result.get('heard', {}).values():
            answers += sum(map(len, tries))
            cases += any(tries)
            never += bool(tries and tries[-1])
    return answers, cases, never


def away(result, case, problems):
    """Whether a failed case tells nothing, as the store was away each time it was played."""
    if 'heard' in result:
        return bool(result['heard'].get(case, [[]])[-1])
    return any(AWAY.search(p) for p in problems)


def table(runs):
    """A line a file with passed/failed of each run: {title: results}."""
    names = sorted({n for results in runs.values() for n in results})
    yield '%-58s' % 'file' + ''.join('%16s' % title for title in runs)
    for name in names:
        yield '%-58s' % name + ''.join(
            '%16s' % ('%(passed)d/%(failed)d' % r[name] if name in r else '-') for r in runs.values())
    sums = [(sum(f['passed'] for f in r.values()), sum(f['failed'] for f in r.values()))
            for r in runs.values()]
    yield '%-58s' % 'all: passed/failed' + ''.join('%16s' % ('%d/%d' % s) for s in sums)


def differences(base, other):
    """(file, case, problems) of what passed in `base` and failed in `other`."""
    for name, result in sorted(other.items()):
        if name in base:
            for case, problems in result['cases'].items():
                if case not in base[name]['cases']:
                    yield name, case, problems
