# Sourced by ./check and ./quickstart: what this machine lacks is installed, and said.

# Debian's programs live here even for somebody whose PATH does not say so; cargo where rustup puts it.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin DEBIAN_FRONTEND=noninteractive

# must_be_root: everything here mounts, makes namespaces and listens below /run.
must_be_root() {
    [ "$(id -u)" = 0 ] || { echo "$0: run this as root (sudo $0)" >&2; exit 1; }
    command -v apt-get >/dev/null || { echo "$0: this machine is not Debian: no apt-get" >&2; exit 1; }
}

# packages NAME...: Debian packages, those that are not there.
packages() {
    local name missing=()
    for name; do
        [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "Installing ${missing[*]}"
    # Their programs are wanted, not the services some of them start.
    local policy=/usr/sbin/policy-rc.d made
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made=yes
    fi
    apt-get -qq update && apt-get -qq install --no-install-recommends "${missing[@]}" >/dev/null || missing=()
    [ -z "${made:-}" ] || rm -f $policy
    [ ${#missing[@]} -gt 0 ]
}

# packaged NAME: whether Debian has it. Names that are only mentioned by other packages are known to apt too.
packaged() { [ -n "$(apt-cache show "$1" 2>/dev/null | grep '^Package:')" ]; }

# rust: cargo for the toolchain of rust-toolchain.toml; rustup fetches that by itself.
rust() {
    cargo --version >/dev/null 2>&1 && return
    if packaged rustup; then
        packages rustup
    else
        # The program that https://sh.rustup.rs would fetch, from where it would.
        local from=https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init init
        echo "Installing rustup from $from"
        packages curl ca-certificates
        init=$(mktemp -d)/rustup-init
        curl --proto '=https' --tlsv1.2 -sSf -o "$init" "$from"
        chmod 755 "$init"
        "$init" -q -y --profile minimal --default-toolchain none
        rm -r "${init%/*}"
    fi
    cargo --version
}

# docker_client: the unmodified docker client, in $DOCKER. Unpacked where there is none: Debian 12's package of that name
# would start a daemon too.
docker_client() {
    local name
    DOCKER=$(command -v docker || true)
    for name in docker-cli docker.io; do
        [ -z "$DOCKER" ] || break
        packaged "$name" || continue
        echo "Unpacking the docker client of $name below images/out"
        images/make --unpack "$name"
        [ ! -x "images/out/package/$name/usr/bin/docker" ] || DOCKER=$PWD/images/out/package/$name/usr/bin/docker
    done
    export DOCKER
}

# of_debian SUITE PACKAGE: its package, unpacked in images/out/package/PACKAGE without the `docker-` of its name.
of_debian() {
    local suite=$1 at=images/out/package/${2#docker-} apt=images/out/apt/$1
    shift
    echo "Unpacking $1 of Debian $suite below images/out"
    mkdir -p "$apt/lists/partial" images/out/package
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" >"$apt/sources"
    local options=(-qq -o APT::Sandbox::User=root -o "Dir::State::Lists=$PWD/$apt/lists" -o "Dir::Etc::SourceList=$PWD/$apt/sources"
        -o Dir::Etc::SourceParts=/dev/null -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
    apt-get "${options[@]}" update
    (cd "$apt" && rm -f ./*.deb && apt-get "${options[@]}" download "$1")
    rm -rf "$at"
    dpkg -x "$apt/$1"_*.deb "$at"
}

# compose_client: the unmodified Compose, version 2 or later, in $COMPOSE. Debian 13 is the first release with it: where this
# machine has none, that one's package is unpacked.
compose_client() {
    local plugin=usr/libexec/docker/cli-plugins/docker-compose
    for COMPOSE in "$(command -v docker-compose || true)" "/$plugin" "/${plugin/libexec/lib}" "$PWD/images/out/package/compose/$plugin"; do
        case $([ ! -x "$COMPOSE" ] || "$COMPOSE" version --short 2>/dev/null) in
            '' | 1.*) ;;
            *) export COMPOSE && return ;;
        esac
    done
    of_debian trixie docker-compose
    export COMPOSE
    "$COMPOSE" version
}

# ssh_server: sshd for the tests, in $SSH_SERVER where this machine has none: the files of its packages, unpacked. Installed, it
# would be a service of this machine.
ssh_server() {
    local name at=$PWD/images/out/package
    [ ! -x /usr/sbin/sshd ] || return 0
    echo "Unpacking sshd below images/out"
    SSH_SERVER=
    for name in $(apt-get -qq --simulate --no-install-recommends install openssh-server | sed -n 's/^Inst \([^ ]*\) .*/\1/p'); do
        images/make --unpack "$name"
        [ ! -d "$at/$name/usr" ] || SSH_SERVER+=${SSH_SERVER:+:}$at/$name/usr
    done
    export SSH_SERVER
}

# buildx_client: the docker client's plugin for BuildKit, in $BUILDX, with all that is tested. Debian's stable releases have
# older ones: where this machine has none, that of the next release is unpacked.
buildx_client() {
    local plugin=usr/libexec/docker/cli-plugins/docker-buildx
    for BUILDX in "${BUILDX:-}" "/$plugin" "/${plugin/libexec/lib}" "$PWD/images/out/package/buildx/$plugin"; do
        case $([ ! -x "$BUILDX" ] || "$BUILDX" build --help 2>/dev/null) in
            *--check*) export BUILDX && return ;;
        esac
    done
    of_debian testing docker-buildx
    export BUILDX
    "$BUILDX" version
}
