package harness

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// childVar names, in the environment of a child, the function it is to run.
const childVar = "CAUSEWAY_TEST_CHILD"

// Reexec returns a command that runs this program again as a child process
// doing what Main or RunChild was given under that name, with args.
func Reexec(t T, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("find this program: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childVar+"="+name)
	ownGroup(cmd, syscall.SIGKILL)
	return cmd
}

// RunChild does what Reexec asked for, and does not return, if this is a child
// process. Programs call it first; tests have Main.
func RunChild(children map[string]func(args []string) error) {
	name := os.Getenv(childVar)
	if name == "" {
		return
	}
	run, ok := children[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no child function %q\n", name)
		os.Exit(2)
	}
	os.Unsetenv(childVar)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
