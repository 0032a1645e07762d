# Makes a git repository with the tags v1 to v5; v3 answers 500 and v4 does not start.
set -e
cp -R "$1" "$2"
cd "$2"
git init --quiet --initial-branch=main
git config user.name Molecule
git config user.email molecule@example.com
commit() { echo "$1" >VERSION; git add --all; git commit --quiet --message="Version $1"; git tag "v$1"; }
commit 1
commit 2
touch broken; commit 3
git rm --quiet broken; touch unstartable; commit 4
git rm --quiet unstartable; commit 5
