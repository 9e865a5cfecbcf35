#!/usr/bin/env python3
"""The transcripts' own replay, but a case during which the store was away is played again.

    undisturbed.py OUT replay ...      (arguments of transcript.py; OUT gets what was seen, as JSON)

When the store loses its leader, a kube-apiserver may say that it can't tell: 5xx with the store's
error, or a watch that ends. That is no wrong answer, but what follows in the case differs. So every
call is listened to, and a case that heard such an answer is repeated (in a new namespace) until it
ran without. What differs then is wrong.
"""
import http.client, json, os, pathlib, re, sys

sys.path.insert(0, str(pathlib.Path(os.environ['TRANSCRIPTS'])))
import transcript  # noqa: E402

TRIES = 8
AWAY = re.compile(r'etcdserver: (?!request is too large)|leader changed|deadline exceeded|'
                  r'request timed out|code = Unavailable|error reading from server|'
                  r'transport is closing|connection refused|storage is \(re\)initializing|'
                  r'connection error|connection reset|request did not complete')
# What cases bring about themselves.
OWN = re.compile(r'calling webhook|no endpoints available')
heard, seen = [], {}
call, run_case = transcript.Server.call, transcript.run_case


def is_away(status, answer):
    text = answer if isinstance(answer, str) else json.dumps(answer)
    if status == 503 or status >= 400 and AWAY.search(text):
        return not OWN.search(text)
    # a watch tells it as an event, in the middle of the stream
    events = answer if isinstance(answer, list) else []
    return any(isinstance(e, dict) and e.get('type') == 'ERROR' and AWAY.search(json.dumps(e))
               for e in events)


def listening(self, method, path, *more, **named):
    status, headers, answer = call(self, method, path, *more, **named)
    if is_away(status, answer):
        text = answer.get('message') if isinstance(answer, dict) else answer
        heard.append(f'{status} {str(text)[:160]}')
    return status, headers, answer


def again(server, case):
    """One case; what it heard is kept for each of its tries."""
    tries = seen.setdefault(case['case'], [])
    while True:
        heard.clear()
        try:
            answers = run_case(server, case)
        except (OSError, http.client.HTTPException, ValueError) as e:
            heard.append(f'{type(e).__name__}: {e}')
            if len(tries) + 1 >= TRIES:
                raise
            answers = None
        tries.append(list(heard))
        if not heard or len(tries) >= TRIES:
            return answers


if __name__ == '__main__':
    out = sys.argv.pop(1)
    transcript.Server.call, transcript.run_case = listening, again
    try:
        transcript.main()
    finally:
        pathlib.Path(out).write_text(json.dumps(seen))
