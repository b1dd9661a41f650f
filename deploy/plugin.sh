#!/usr/bin/env bash
# Lays out what is published of the plugin: an archive for each architecture, and the manifest by which krew installs it.
# `make plugin` calls it. The same binaries give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: VERSION=… URL=… ARCHITECTURES=… SOURCE_DATE_EPOCH=… deploy/plugin.sh BINARIES FOLDER"
binaries=${1:?$usage} out=${2:?$usage}
: "${VERSION:?$usage}" "${URL:?$usage}" "${ARCHITECTURES:?$usage}" "${SOURCE_DATE_EPOCH:?$usage}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out"

sed -e '/^#/d' -e "s|vVERSION|v$VERSION|" -e '/^  platforms: /d' deploy/krew/idel.yaml >"$out/idel.yaml"
echo '  platforms:' >>"$out/idel.yaml"
for architecture in $ARCHITECTURES; do
  archive=kubectl-idel-$VERSION-linux-$architecture.tar.gz
  mkdir "$work/$architecture"
  install "$binaries/$architecture/kubectl-idel" plugin/kubectl_complete-idel "$work/$architecture"
  install -m 644 LICENSE "$work/$architecture"
  tar --create --directory "$work/$architecture" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
    --numeric-owner --mode=u=rwX,go=rX . | gzip --best --no-name >"$out/$archive"
  sum=$(sha256sum "$out/$archive" | cut -d ' ' -f 1)
  cat >>"$out/idel.yaml" <<ENTRY
  - selector:
      matchLabels: {os: linux, arch: $architecture}
    uri: $URL/$archive
    sha256: $sum
    bin: kubectl-idel
ENTRY
done
ls -l "$out"
