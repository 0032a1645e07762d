# Makes a .tar.gz of a revision on the controller and prints three lines: made or kept, the full
# revision, the archive's path. Input: RELEASE_REPOSITORY, RELEASE_REVISION (empty: the repository's
# HEAD), RELEASE_CACHE. Keeps a bare clone, so that the next release fetches only what is new.
set -eu
umask 077
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
# Neither ext:: nor an option in disguise may run a command, and nothing may wait for a password.
export GIT_ALLOW_PROTOCOL=file:git:http:https:ssh GIT_TERMINAL_PROMPT=0

repository=$RELEASE_REPOSITORY
revision=${RELEASE_REVISION:-HEAD}
case $repository$revision in -*) echo "a repository cannot begin with -" >&2; exit 1 ;; esac
case $revision in -*) echo "a revision cannot begin with -" >&2; exit 1 ;; esac
if [ -d "$repository" ]; then repository=$(cd -- "$repository" && pwd -P); fi

folder=$RELEASE_CACHE/$(printf '%s' "$repository" | git hash-object --stdin)
clone=$folder/clone.git
mkdir -p -- "$folder"
errors=$(mktemp)
trap 'rm -f -- "$errors"' EXIT

# Passwords inside URLs must not reach a log.
try() { "$@" 2>"$errors" || { sed 's#://[^@/]*@#://***@#g' "$errors" >&2; exit 1; }; }
resolve() { git -C "$clone" rev-parse --verify --quiet --end-of-options "$1^{commit}"; }
is_full() { printf '%s' "$revision" | grep -Eqx '[0-9a-f]{40}([0-9a-f]{24})?'; }

try git init --quiet --bare -- "$clone"
if ! is_full || ! resolve "$revision" >/dev/null; then
  try git -C "$clone" fetch --quiet --force --prune -- "$repository" \
    '+HEAD:refs/callboard/HEAD' '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
fi
if is_full && ! resolve "$revision" >/dev/null; then
  try git -C "$clone" fetch --quiet -- "$repository" "$revision"
fi
if [ "$revision" = HEAD ]; then revision=refs/callboard/HEAD; fi
full=$(resolve "$revision") || { echo "revision $RELEASE_REVISION is not in the repository" >&2; exit 1; }

archive=$folder/$full.tar.gz
find "$folder" -maxdepth 1 -name '*.tar.gz' -mtime +7 ! -name "$full.tar.gz" -exec rm -f -- {} +
state=kept
if [ ! -e "$archive" ]; then
  state=made
  try git -C "$clone" -c tar.umask=0022 archive --format=tar.gz --output="$archive.$$" "$full"
  mv -- "$archive.$$" "$archive"
fi
printf '%s\n' "$state" "$full" "$archive"
