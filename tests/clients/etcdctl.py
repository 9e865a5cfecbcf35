"""etcdctl's whole command set as sessions of text, run against three members of ours.

A session (sessions/*.session) holds commands and what etcdctl says when the members are a real etcd 3.7.1:

    # members: mtls --max-txn-ops=4      how the members are started: plain, tls or mtls, and flags of etcd
    # endpoints: one                     only the first member is asked
    # slow                               left out of quick runs
    # a comment
    $ etcdctl get nothing --rev=99       a command of bash; `> ` continues it
    Error: ...                           its standard output
    ! etcdserver: mvcc: ...              its standard error
    [exit 1]                             its exit status, unless 0
    [differs] WHY                        what ours says instead, and on purpose, stands below

`run.py --record etcdctl` runs the sessions against the real one and writes down what it says; without it, what ours says
is compared with that. Ids, times, sizes, hashes of ids, terms and log positions become <marks> on both sides. Each session
has members of its own. Helpers that commands may use are in sessions/prelude.sh.
"""
import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import time

from members import MEMBERS, Members

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'sessions')
VERSION = '3.7.1'
LIMIT = 120
SYNTAX = re.compile(r'(\$ |> |# |! |\[exit |\[differs\]|\[no newline\]|\\)')
ID_HEX = re.compile(r'(?<![0-9a-zA-Z])[0-9a-f]{12,16}(?![0-9a-zA-Z])')
ID_DECIMAL = re.compile(r'(?<![0-9a-zA-Z.])-?\d{15,20}(?![0-9a-zA-Z])')
# JSON fields whose values are a member's own business.
OWN = {'member_id', 'raft_term', 'raftTerm', 'raftIndex', 'raftAppliedIndex', 'dbSize', 'dbSizeInUse', 'took'}
MARKS = [(re.compile(pattern, re.M), mark) for pattern, mark in [
    (r'took = [\d.]+(µs|ms|s)', 'took = <time>'),
    (r'\btook [\d.]+(µs|ms|s)', 'took <time>'),
    (r'"took":"[^"]*"', '"took":"<time>"'),
    (r'\b[\d.]+(µs|ms)\b', '<time>'),
    (r'"ts":"[^"]*"', '"ts":"<time>"'),
    (r'"caller":"[^"]*"', '"caller":"<place>"'),
    (r'(etcd-endpoints://0x[0-9a-f]+)/[^"]*"', r'\1/<member>"'),
    (r'"target":"etcd-endpoints://0x[0-9a-f]+', '"target":"etcd-endpoints://<client>'),
    (r"Peer\{Addr: '[^']*', LocalAddr: '[^']*'", "Peer{Addr: '<member>', LocalAddr: '<client>'"),
    (r'("(?:MemberID|RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : )\d+', r'\1<own>'),
    (r'\b\d+(\.\d+)? [kMG]B\b', '<size>'),
    (r'\b\d+%', '<share>'),
    (r'(, (?:true|false), (?:true|false)), \d+, \d+, \d+, ', r'\1, <own>, <own>, <own>, '),
    (r'(│ (?:true|false) │ (?:true|false) │) +\d+ │ +\d+ │ +\d+ │', r'\1 <own> │ <own> │ <own> │'),
]]
DROPPED = [re.compile(pattern) for pattern in [
    r'\[\d\][+-]? +(Interrupt|Done|Exit)',  # bash's word on jobs
]]
TABLE = re.compile(r'^[|+┌├└│].*$', re.M)


def tool(name, variable):
    """A tool of the real etcd: named by the environment, built as an oracle, or installed."""
    oracles = os.environ.get('ORACLES') or os.path.expanduser('~/.cache/trireme-oracles')
    for path in (os.environ.get(variable), os.path.join(oracles, 'bin', name), shutil.which(name)):
        if path and os.access(path, os.X_OK) and not os.path.realpath(path).endswith('trireme'):
            return os.path.abspath(path)
    return None


def etcdctl():
    """etcdctl of the version that the sessions were recorded with; or why not."""
    path = tool('etcdctl', 'ETCDCTL')
    if not path:
        return None, f'no etcdctl: build etcd {VERSION} and set ETCDCTL to its etcdctl'
    said = subprocess.run([path, 'version'], capture_output=True, text=True).stdout
    found = re.search(r'version: (\S+)', said)
    if not found or found[1] != VERSION:
        return None, f'{path} is {found and found[1]}, not {VERSION}'
    return path, None


def prepare(_cache):
    """Nothing to fetch: says what is missing."""
    return etcdctl()[1]


class Command:
    """One command, the lines around it, and what it is to say."""

    def __init__(self, script):
        self.before, self.script, self.expected, self.ours = [], script, [], []


def parse(text):
    """A session's header and its commands."""
    header, commands, notes = [], [], []
    for line in text.splitlines():
        if line.startswith('$ '):
            commands.append(Command(line[2:]))
            commands[-1].before, notes = notes, []
        elif line.startswith('> '):
            commands[-1].script += '\n' + line[2:]
        elif line.startswith('# ') or not line:
            (notes if commands else header).append(line)
        elif line.startswith('[differs] ') or commands[-1].ours:
            commands[-1].ours.append(line)
        else:
            commands[-1].expected.append(line)
    return header, commands


def render(header, commands, said):
    """A session as text."""
    lines = list(header)
    for command, output in zip(commands, said):
        lines += command.before
        script = command.script.split('\n')
        lines += ['$ ' + script[0]] + ['> ' + line for line in script[1:]] + output + command.ours
    return '\n'.join(lines) + '\n'


class Marks:
    """Turns what differs from run to run into marks. Ids are told apart: the first one is <id1>."""

    def __init__(self, members):
        self.names, self.directory = {}, members.directory

    def know(self, number, name):
        """Gives an id a name."""
        self.names.setdefault(number, f'<{name}>')
        return self.names[number]

    def id(self, number):
        """An id's name."""
        return self.know(number, f'id{sum(name.startswith("<id") for name in self.names.values()) + 1}')

    def value(self, key, value):
        """A JSON value with marks; members in order of their names."""
        if key in OWN:
            return '<own>'
        if isinstance(value, dict):
            return {k: self.value(k, v) for k, v in value.items()}
        if isinstance(value, list):
            if all(isinstance(v, dict) and 'peerURLs' in v for v in value):
                value = sorted(value, key=lambda v: v['peerURLs'])
            return [self.value(key, v) for v in value]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10 ** 14:
            return self.id(value % 2 ** 64)
        return value

    def line(self, line):
        """A line with marks."""
        if line.startswith(('{', '[')):
            try:
                line = json.dumps(self.value('', json.loads(line)), ensure_ascii=False, separators=(',', ':'))
            except ValueError:
                pass
        if TABLE.match(line):
            line = re.sub(r' +', ' ', re.sub(r'([-─])[-─]+', r'\1', line))
        line = line.replace(self.directory, '<dir>')
        for pattern, mark in MARKS:
            line = pattern.sub(mark, line)
        line = ID_DECIMAL.sub(lambda found: self.id(int(found[0]) % 2 ** 64), line)
        line = ID_HEX.sub(lambda found: self.id(int(found[0], 16)), line)
        return line

    def lines(self, text, prefix):
        """An output as lines of a session."""
        lines = [line for line in text.splitlines() if not any(pattern.match(line) for pattern in DROPPED)]
        lines = [self.line(line) for line in lines]
        lines = [prefix + line if prefix else '\\' + line if SYNTAX.match(line) or not line else line for line in lines]
        return lines + (['[no newline]'] if text and not text.endswith('\n') and not prefix else [])


def environment(members, real_etcdctl, directory):
    """What the commands of a session find."""
    env = {name: value for name, value in os.environ.items() if not name.startswith('ETCD')}
    tools = os.path.join(directory, 'tools')
    os.makedirs(tools, exist_ok=True)
    wrapper = os.path.join(tools, 'etcdctl')
    with open(wrapper, 'w') as file:
        # The environment's endpoints must not be named again, and some commands name theirs.
        # And an answer may take its time on a busy machine.
        file.write('#!/bin/sh\n'
                   'case " $* " in *" --endpoints"*) ;; *) set -- --endpoints="$ENDPOINTS" "$@";; esac\n'
                   'case " $* " in *" --command-timeout"*) ;; *) set -- --command-timeout=60s "$@";; esac\n'
                   f'exec {shlex.quote(real_etcdctl)} --dial-timeout=20s "$@"\n')
    os.chmod(wrapper, 0o755)
    env.update(
        PATH=f'{tools}:{env["PATH"]}', BASH_ENV=os.path.join(HERE, 'prelude.sh'), LC_ALL='C.UTF-8', TZ='UTC',
        HERE=HERE, ENDPOINTS=members.endpoints(), DIR=members.directory)
    for at in range(MEMBERS):
        env[f'E{at + 1}'], env[f'P{at + 1}'] = members.client_url(at), members.peer_url(at)
    if members.mode != 'plain':
        env['ETCDCTL_CACERT'] = members.file('ca.crt')
    if members.mode == 'mtls':
        env.update(ETCDCTL_CERT=members.file('client.crt'), ETCDCTL_KEY=members.file('client.key'))
    return env


def learn_ids(members, env, marks):
    """Names the members and their cluster, also for the commands."""
    asked = subprocess.run(['etcdctl', 'member', 'list', '-w', 'json'], env=env, capture_output=True, text=True)
    answer = json.loads(asked.stdout)
    marks.know(answer['header']['cluster_id'], 'cluster')
    for member in answer['members']:
        marks.know(member['ID'], member['name'])
        env[member['name'].upper()] = f'{member["ID"]:x}'


def perform(binary, session, context, name):
    """Runs a session's commands against fresh members and gives what each said."""
    header, commands = parse(session)
    words = next((line.split()[2:] for line in header if line.startswith('# members: ')), ['plain'])
    directory = os.path.join(context.directory, f'{name}-{os.path.basename(binary)}')
    path, _ = etcdctl()
    members = Members(binary, directory, words[0], words[1:])
    said = []
    with members:
        marks = Marks(members)
        env = environment(members, path, directory)
        learn_ids(members, env, marks)
        if '# endpoints: one' in header:
            env['ENDPOINTS'] = members.client_url(0)
        work = os.path.join(directory, 'work')
        os.makedirs(work)
        for command in commands:
            try:
                done = subprocess.run(
                    ['bash', '-c', command.script], env=env, cwd=work, stdin=subprocess.DEVNULL,
                    capture_output=True, timeout=LIMIT)
                code, out, err = done.returncode, done.stdout, done.stderr
            except subprocess.TimeoutExpired as late:
                code, out, err = 'never', late.stdout or b'', late.stderr or b''
            lines = marks.lines(out.decode(errors='replace'), '') + marks.lines(err.decode(errors='replace'), '! ')
            said.append(lines + ([f'[exit {code}]'] if code else []))
    return header, commands, said


def compare(name, commands, said, is_real):
    """Prints what differs; gives the numbers of good and bad commands. A real etcd says what was recorded."""
    failed = 0
    for command, lines in zip(commands, said):
        expected = command.ours[1:] if command.ours and not is_real else command.expected
        if lines == expected:
            continue
        failed += 1
        print(f'--- {name}: {command.script}')
        for line in difflib.unified_diff(expected, lines, 'etcd', 'ours', lineterm='', n=2):
            if not line.startswith(('---', '+++', '@@')):
                print('    ' + line)
    return len(commands) - failed, failed


def run(context):
    """Runs all sessions; with --record, writes down what the real etcd says."""
    record = context.arguments.record
    binary = tool('etcd', 'ETCD') if record else context.binary
    if not binary:
        raise AssertionError('no real etcd to record: set ETCD')
    is_real = not os.path.realpath(binary).endswith('trireme')
    passed = failed = 0
    for file in sorted(os.listdir(HERE)):
        name, ending = os.path.splitext(file)
        if ending != '.session' or context.arguments.filter not in name:
            continue
        path, began = os.path.join(HERE, file), time.monotonic()
        with open(path) as opened:
            session = opened.read()
        if context.arguments.quick and '# slow' in session:
            continue
        header, commands, said = perform(binary, session, context, name)
        if record:
            with open(path, 'w') as opened:
                opened.write(render(header, commands, said))
            good, bad = len(commands), 0
        else:
            good, bad = compare(name, commands, said, is_real)
        took = time.monotonic() - began
        print(f'{name:<16} {good} of {good + bad} commands say what etcd says ({took:.0f} s)', flush=True)
        passed, failed = passed + good, failed + bad
    return passed, failed
