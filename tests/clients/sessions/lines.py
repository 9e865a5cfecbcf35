"""lines N COMMAND...: runs a command until it has said N lines, then interrupts it; says those lines."""
import signal
import subprocess
import sys
import threading

PATIENCE = 20

wanted = int(sys.argv[1])
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE)
timer = threading.Timer(PATIENCE, child.kill)
timer.start()
count = 0
for line in child.stdout:
    count += 1
    if count > wanted:
        continue  # Said before the interrupt came.
    sys.stdout.buffer.write(line)
    sys.stdout.flush()
    if count == wanted:
        child.send_signal(signal.SIGINT)
code = child.wait()
timer.cancel()
if count < wanted:
    print(f'only {count} lines of {wanted}')
sys.exit(code if code >= 0 else 128 - code)
