// Host and domain name as the process sees them.
//
//   --unshare   in a UTS namespace of its own, with names of its own
#include "program.h"
#include <sys/utsname.h>

static struct utsname before, after;
static ino_t namespace_before, namespace_after;

static ino_t namespace_of_self(void) {
  struct stat status = {0};
  stat("/proc/self/ns/uts", &status);
  return status.st_ino;
}

int main(int argc, char** argv) {
  program_start(argc, argv);
  bool own = has_option("--unshare");
  if (own) {
    must(unshare(CLONE_NEWUTS) == 0, "unshare(CLONE_NEWUTS)");
    must(sethostname("travelling-host", 15) == 0, "sethostname");
    must(setdomainname("travelling.domain", 17) == 0, "setdomainname");
  }
  must(uname(&before) == 0, "uname");
  namespace_before = namespace_of_self();
  ready();
  wait_for_check();
  if (program.sabotage) {
    // Never the host's own name: where nothing was unshared, only the record is altered.
    if (own)
      must(sethostname("other", 5) == 0, "sethostname");
    else
      before.nodename[0] ^= 1;
  }
  uname(&after);
  namespace_after = namespace_of_self();
  expect_text("host name", before.nodename, after.nodename);
  expect_text("domain name", before.domainname, after.domainname);
  expect_text("system", before.sysname, after.sysname);
  expect_text("machine", before.machine, after.machine);
  say("FACT namespace %lu before, %lu after", namespace_before, namespace_after);
  if (own) {
    // A name set now must be seen by itself; the harness looks at the host's.
    expect_number("sethostname afterwards", 0, sethostname("arrived", 7));
    uname(&after);
    expect_text("host name afterwards", "arrived", after.nodename);
  }
  return finish();
}
