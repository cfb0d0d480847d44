package envoytest

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the process when the test binary dies
// without its cleanups, as it does at a test's timeout.
func dieWithParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
