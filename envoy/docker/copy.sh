#!/bin/sh
# Copies the library and the launcher into a directory. Each is renamed into place: an Envoy that has the old one mapped
# keeps it, and nobody ever sees half a file.
set -eu
to=${1:?the directory to copy to}
for file in libspectral_bridge.so spectral-bridge; do
  cp "${0%/*}/$file" "$to/.$file.new"
  chmod 0755 "$to/.$file.new"
  mv -f "$to/.$file.new" "$to/$file"
done
