# SPDX-License-Identifier: GPL-2.0-or-later
# What ./demo and ./check do first: install what is missing, build in the tree. Sourced by both from
# the tree's top; $caller names it in messages.

if [ "$(id -u)" -ne 0 ]; then
	echo "$caller: run me as root: I make network namespaces" >&2
	exit 1
fi

missing=
for package in $(sed 's/#.*//' packages); do
	case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
	installed) ;;
	*) missing="$missing $package" ;;
	esac
done
if [ -n "$missing" ]; then
	echo "$caller: installing$missing"
	log=$(mktemp)
	# policy-rc.d would be the host's business: what Debian starts by itself is left as it is.
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
		--no-install-recommends $missing; } </dev/null >"$log" 2>&1; then
		cat "$log" >&2
		echo "$caller: installing failed, see above" >&2
		exit 1
	fi
	rm -f "$log"
fi

# build LOG CONFIGURE-ARGUMENT...: in the tree, quietly unless it fails.
build() {
	build_log=$1
	shift
	if ! { { { [ -f configure ] && [ -f Makefile.in ] && [ -f build-aux/install-sh ]; } || autoreconf -fi; } &&
		{ [ -f Makefile ] && [ Makefile -nt configure ] || ./configure "$@"; } &&
		make -j"$(nproc)"; } </dev/null >"$build_log" 2>&1; then
		tail -n 40 "$build_log" >&2
		echo "$caller: the build failed, see above" >&2
		return 1
	fi
}
