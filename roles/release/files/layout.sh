# What the role does to a release layout on the host: layout.sh VERB ROOT [ARGUMENT...]
# Each verb is one round trip; printing nothing (but for look) means that nothing was changed.
set -eu
verb=$1 root=$2
shift 2

# look: one record a line, its parts separated by what no name can hold; nothing where there is no layout.
#   current/<name>             what the link points to     obstacle/current   it is there and is no link
#   history/<name>             proven releases, oldest first
#   release/<name>/<revision>  complete releases, oldest first
#   leftover/<name>            uploads that were cut off a day ago or earlier
look() {
  cd -- "$root" 2>/dev/null || return 0
  if [ -L current ]; then
    echo "current/$(basename -- "$(readlink current)")"
  elif [ -e current ]; then
    echo obstacle/current
  fi
  if [ -f history ]; then sed 's#^#history/#' history; fi
  ls -1tr releases/*/REVISION 2>/dev/null | while IFS= read -r file; do
    name=${file#releases/}
    echo "release/${name%/REVISION}/$(head -n 1 -- "$file" | cut -c 1-255)"
  done
  find releases -maxdepth 1 -name '.incoming-*' -mmin +1440 2>/dev/null | sed 's#^releases/#leftover/#'
}

# begin NAME: an empty folder to unpack into; what an interrupted upload left goes.
begin() {
  rm -rf -- "$root/releases/.incoming-$1" "$root/releases/$1"
  mkdir -- "$root/releases/.incoming-$1"
  echo "$1"
}

# finish NAME REVISION: only now the release gets its name, so whatever has one is complete.
finish() {
  rm -rf -- "$root/releases/.incoming-$1/REVISION"
  printf '%s' "$2" >"$root/releases/.incoming-$1/REVISION"
  mv -T -- "$root/releases/.incoming-$1" "$root/releases/$1"
  echo "$1"
}

# share NAME dir:PATH... file:PATH...: links PATH of the release to shared/PATH, in place of what it brought.
# A shared file may be missing, such as a database that the application makes.
share() {
  home=$root/releases/$1
  shift
  for entry; do
    path=${entry#*:}
    folder=$root/shared/$path
    case $entry in file:*) folder=$(dirname -- "$folder") ;; esac
    mkdir -p -- "$folder" "$(dirname -- "$home/$path")"
    if [ "$(readlink -- "$home/$path")" != "$root/shared/$path" ]; then
      rm -rf -- "$home/$path"
      ln -s -- "$root/shared/$path" "$home/$path"
      echo "$path"
    fi
  done
}

# prove NAME...: the history, oldest first.
prove() {
  printf '%s\n' "$@" >"$root/.history"
  mv -f -- "$root/.history" "$root/history"
  echo "$*"
}

# acknowledge RUN: the number of the service's run, which the agent reports.
acknowledge() {
  printf '%s\n' "$1" >"$root/.run"
  mv -f -- "$root/.run" "$root/run"
}

# remove NAME...: releases and leftovers.
remove() {
  for name; do rm -rf -- "$root/releases/$name"; echo "$name"; done
}

"$verb" "$@"
