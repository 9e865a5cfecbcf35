"""PyPI etcd3's own tests, unmodified, from its source distribution, run against three members of ours.

As upstream does, pifpaf starts three members: it takes what is called `etcd` on the PATH, which is our binary.
What the tests ask of etcdctl is asked of a real one, of the member that the client is connected with. One command is
translated: `snapshot status` left etcdctl for etcdutl in 3.6, and is answered by ours here.
"""
import os
import re
import subprocess
import sys
import tarfile
import venv

from etcdctl import etcdctl

VERSION = '0.12.0'
# Its generated code needs a protobuf before 4, its locks a tenacity before 7, its tests a hypothesis that lets many
# examples share a fixture.
PINNED = ['grpcio', 'protobuf==3.20.3', 'six', 'tenacity==6.3.1', 'pytest==7.4.4', 'hypothesis==5.41.5', 'mock==5.1.0',
          'pifpaf==3.4.0', 'setuptools<81', 'wheel', 'attrs']
# Tests that fail against a real etcd 3.7.1 in the same surroundings, and why.
UNFIT = {
    'TestClient::test_user_pwd_auth': 'patches a module `etcdrpc` that no version of the package has',
}


def prepare(cache):
    """Fetches the source distribution and what its tests need, through pip."""
    _, missing = etcdctl()
    if missing:
        return missing
    home = os.path.join(cache, f'python-etcd3-{VERSION}')
    done = os.path.join(home, 'is-ready')
    if os.path.exists(done) and open(done).read() == ' '.join(PINNED):
        return None
    venv.create(os.path.join(home, 'venv'), with_pip=True)
    python = os.path.join(home, 'venv', 'bin', 'python')
    for arguments in (['install', '-q', *PINNED], ['download', '-q', '--no-deps', '--no-binary=:all:', '--no-build-isolation', '-d', home,
                                                  f'etcd3=={VERSION}']):
        if subprocess.run([python, '-m', 'pip', '--disable-pip-version-check', *arguments]).returncode:
            return f'pip {arguments[0]} failed'
    with tarfile.open(os.path.join(home, f'etcd3-{VERSION}.tar.gz')) as archive:
        archive.extractall(home)
    with open(done, 'w') as file:
        file.write(' '.join(PINNED))
    return None


def run(context):
    """Runs the tests under pifpaf."""
    home = os.path.join(context.cache, f'python-etcd3-{VERSION}')
    source = os.path.join(home, f'etcd3-{VERSION}')
    tools = os.path.dirname(context.binary)
    real, _ = etcdctl()
    with open(os.path.join(tools, 'etcdctl'), 'w') as file:
        # Its serializable reads are of the first member: what etcdctl has written there, they find there.
        file.write('#!/bin/sh\nexport ETCDCTL_ENDPOINTS=http://localhost:2379\ncase "$*" in *"snapshot status"*) for last; do :; done\n'
                   f'exec "{os.path.realpath(context.binary)}" snapshot status "$last" -w json;; esac\nexec "{real}" "$@"\n')
    os.chmod(os.path.join(tools, 'etcdctl'), 0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith('ETCD')}
    env.update(PATH=f'{tools}:{home}/venv/bin:{env["PATH"]}', PYTHONPATH=source, TEST_ETCD_VERSION='v3.7.1',
               PYTHONDONTWRITEBYTECODE='1')
    chosen = ['-k', context.arguments.filter] if context.arguments.filter else []
    report = os.path.join(context.directory, 'report.txt')
    command = ['pifpaf', '-e', 'PYTHON', 'run', 'etcd', '--cluster', '--', 'python', '-m', 'pytest', '-p', 'no:cacheprovider',
               '-rA', '--tb=short', '-q', 'tests', *chosen]
    with open(report, 'w') as file:
        subprocess.run(command, cwd=source, env=env, stdout=file, stderr=subprocess.STDOUT, timeout=1500)
    with open(report) as file:
        text = file.read()
    print('\n'.join(text.splitlines()[-120:]))
    passed = len(re.findall(r'^PASSED ', text, re.M))
    failed = re.findall(r'^(?:FAILED|ERROR) tests/\S*?::(\S+)', text, re.M)
    for name in failed:
        if name in UNFIT:
            print(f'not counted: {name}: {UNFIT[name]}')
    return passed, len([name for name in failed if name not in UNFIT]) + (0 if passed else 1)
