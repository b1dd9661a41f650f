#!/usr/bin/env bash
# Lays out the files of a release in a folder. `make release` calls it, after it has laid out the image's root of each
# architecture in target/release-roots, the lists of what is compiled in beside them, and the plugin's files in a folder.
#
# The same commit gives the same bytes: times are the commit's, owners are 0, and archives are sorted.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: PLUGIN=… VERSION=… IMAGE=… ARCHITECTURES=… KUBECTL=… HELM=… deploy/release.sh FOLDER"
out=${1:?$usage}
: "${PLUGIN:?$usage}" "${VERSION:?$usage}" "${IMAGE:?$usage}" "${ARCHITECTURES:?$usage}" "${KUBECTL:?$usage}" "${HELM:?$usage}"
name=instance-deletion-controller
roots=target/release-roots
# How the manifests name the image, until IMAGE says where it is published.
placeholder=instance-deletion-controller

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
created=$(date --utc --date "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
revision=$(git describe --always --dirty --abbrev=40 --exclude '*')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out"

# Packs names of a folder into a sorted archive, whatever the umask and the clock of the machine.
pack() { # FOLDER NAME...
  local folder=$1
  shift
  tar --create --directory "$folder" --format=gnu --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX "$@"
}

binaries() {
  local architecture folder
  for architecture in $ARCHITECTURES; do
    folder=$name-$VERSION-linux-$architecture
    install -D "$roots/$architecture/$name" "$work/$folder/$name"
    cp LICENSE "$work/$folder/"
    pack "$work" "$folder" | gzip --best --no-name >"$out/$folder.tar.gz"
    cp "$roots/$architecture.cdx.json" "$out/$folder.cdx.json"
    cp "$roots/$architecture-plugin.cdx.json" "$out/kubectl-idel-$VERSION-linux-$architecture.cdx.json"
  done
}

# One index for all architectures, as an archive in the layout of OCI.
image() {
  local buildah=(buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs) architecture
  local labels=(--label "org.opencontainers.image.created=$created" --label "org.opencontainers.image.revision=$revision")
  [ -z "${SOURCE:-}" ] || labels+=(--label "org.opencontainers.image.source=$SOURCE")
  for architecture in $ARCHITECTURES; do
    # Without the identity label: it holds the version of buildah.
    "${buildah[@]}" build --quiet --format oci --platform "linux/$architecture" --manifest "$name" --timestamp "$epoch" \
      --identity-label=false --build-arg "VERSION=$VERSION" "${labels[@]}" --file deploy/image/Containerfile \
      "$roots/$architecture" >/dev/null
  done
  "${buildah[@]}" manifest push --quiet --all "$name" "oci:$work/layout:$VERSION" >/dev/null
  pack "$work/layout" . >"$out/$name-$VERSION-image.tar"
  # The layout has one entry: the index.
  grep -o 'sha256:[0-9a-f]\{64\}' "$work/layout/index.json" >"$out/image-digest.txt"
}

chart() {
  cp -r "deploy/helm/$name" "$work/chart"
  sed -i "s|^  repository: $placeholder\$|  repository: $IMAGE|" "$work/chart/values.yaml" "$work/chart/files/values.yaml"
  "$HELM" package "$work/chart" --destination "$work/packaged" >/dev/null
  mkdir "$work/unpacked"
  # Helm packs with the times of its run.
  tar --extract --gzip --directory "$work/unpacked" --file "$work/packaged/$name-$VERSION.tgz"
  pack "$work/unpacked" "$name" | gzip --best --no-name >"$out/$name-chart-$VERSION.tgz"
}

manifests() {
  "$KUBECTL" kustomize deploy/base | sed "s|image: $placeholder:$VERSION\$|image: $IMAGE:$VERSION|" >"$out/install.yaml"
  grep -q "image: $IMAGE:$VERSION\$" "$out/install.yaml"
  cp crds/clouddc.dev_*.yaml "$out/"
}

binaries
cp "$PLUGIN"/* "$out/"
image
chart
manifests
(cd "$out" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
cat "$out/SHA256SUMS"
