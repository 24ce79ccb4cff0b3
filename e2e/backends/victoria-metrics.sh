#!/usr/bin/env bash
# Gets VictoriaMetrics from Debian into the directory $1, without installing it and without root.
#
# The first Debian whose VictoriaMetrics takes OTLP is 13 (trixie). Where the machine's own is older, trixie is asked for
# at the same mirror, with lists of our own: nothing of the system is touched.
set -euo pipefail
to=$1
if ! { command -v apt-get && command -v dpkg; } >/dev/null; then
  echo "victoria-metrics.sh: apt-get or dpkg is missing; VictoriaMetrics comes from Debian" >&2
  exit 2
fi
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' \
  | awk '$2 ~ /^[a-z]+$/ && $3 == "main" && $1 ~ /\/debian\/?$/ { print $1; exit }')
if [ -z "$mirror" ]; then
  echo "victoria-metrics.sh: no Debian mirror is among the sources of apt" >&2
  exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$to"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > "$work/sources.list"
apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User= "$@"
}
apt update
(cd "$work" && apt download victoria-metrics)
dpkg -x "$work"/victoria-metrics_*.deb "$to"
echo "VictoriaMetrics $(dpkg-deb --field "$work"/victoria-metrics_*.deb Version)"
