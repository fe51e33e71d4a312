#!/usr/bin/env bash
# Gets what the tests in virtual machines need: QEMU and a few tools from apt, and Debian's kernels, only downloaded
# and unpacked. What is there already is left as it is; several at once wait for one another.
#
#   prepare.sh FOLDER
#
# FOLDER/KERNEL/ then holds `release`, `vmlinuz` and `modules/` with the few modules that a machine needs and their
# `order`. Exit code 3: it cannot be had here, the reason is the last line of stderr.
set -euo pipefail
folder=$1
# What a name leads to changes with each update of the kernel, so packages are found through their metapackages.
declare -A kernels=([6.1]=linux-image-amd64 [6.12]=linux-image-6.12-amd64)
# In the order they need one another; what is missing is built into that kernel.
modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio-rng netfs fscache 9pnet
  9pnet_virtio 9p overlay failover net_failover virtio_net)

unavailable() {
  echo "$*" >&2
  exit 3
}

complete() {
  local name
  for name in "${!kernels[@]}"; do [[ -f $folder/$name/release ]] || return 1; done
  [[ -x $(command -v qemu-system-x86_64) && -x $(command -v busybox) && -x $(command -v cpio) ]]
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 "$@" </dev/null >&2
}

# Runs a command; where it fails, once more with fresh lists of packages.
with_fresh_lists() {
  "$@" && return
  [[ -n ${updated:-} ]] || apt update || unavailable 'apt-get update fails'
  updated=1
  "$@"
}

install_tools() {
  apt install --yes --no-install-recommends qemu-system-x86 busybox-static cpio xz-utils
}

# Into the current folder: only the kernel's package, which need not suit this system.
download() {
  local package
  package=$(apt-cache depends "$1" 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }')
  [[ -n $package ]] && apt download "$package"
}

unpack() { # NAME METAPACKAGE
  local work=$folder/$1.unfinished module file tree
  rm -rf "$work"
  mkdir -p "$work/modules"
  cd "$work"
  with_fresh_lists download "$2" || unavailable "the package $2 cannot be downloaded"
  dpkg -x ./*.deb tree
  for tree in tree/usr/lib/modules/*/ tree/lib/modules/*/; do
    if [[ -d $tree/kernel ]]; then break; fi
  done
  basename "$tree" >release
  cp "tree/boot/vmlinuz-$(<release)" vmlinuz
  for module in "${modules[@]}"; do
    file=$(find "$tree/kernel" -name "$module.ko*" -print -quit)
    case $file in
      '') continue ;;
      *.xz) xz -dc "$file" >"modules/$module.ko" ;;
      *) cp "$file" "modules/$module.ko" ;;
    esac
    echo "$module.ko" >>modules/order
  done
  rm -rf tree ./*.deb
  cd "$folder"
  rm -rf "$1"
  mv "$work" "$1"
}

mkdir -p "$folder"
cd "$folder"
exec 9>"$folder/lock"
flock 9
if complete; then exit 0; fi
for tool in apt-get apt-cache dpkg; do
  [[ -x $(command -v $tool) ]] || unavailable "there is no $tool"
done
for tool in qemu-system-x86_64 busybox cpio xz; do
  if [[ ! -x $(command -v $tool) ]]; then
    with_fresh_lists install_tools || unavailable 'QEMU cannot be installed'
    break
  fi
done
for name in "${!kernels[@]}"; do
  if [[ ! -f $folder/$name/release ]]; then unpack "$name" "${kernels[$name]}"; fi
done
