//go:build !linux

package vfs

// noProcesses is Processes where nothing is known of them: a lock file is then
// judged by its age alone.
type noProcesses struct{}

var _ Processes = noProcesses{}

func newProcesses() Processes { return noProcesses{} }

func (noProcesses) Host() string                 { return "unknown" }
func (noProcesses) Of(uint32) (Process, bool)    { return Process{}, false }
func (noProcesses) Alive(Process) bool           { return true }
func (noProcesses) Within(Process, Process) bool { return false }
func (noProcesses) Living(Process) []int         { return []int{1} }
