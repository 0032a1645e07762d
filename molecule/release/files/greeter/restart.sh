# Ends the greeter that runs and starts the one of this release.
set -e
if [ -e unstartable ]; then echo "no licence file" >&2; exit 3; fi
if [ -f "$HOME/greeter.pid" ]; then
  old=$(cat "$HOME/greeter.pid")
  kill "$old" 2>/dev/null || true
  while kill -0 "$old" 2>/dev/null; do sleep 0.05; done
fi
setsid python3 greeter.py >"$HOME/greeter.log" 2>&1 </dev/null &
echo $! >"$HOME/greeter.pid"
