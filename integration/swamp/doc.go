// Package swamp issues, on any directory, the system calls that swamp (an
// automation tool that keeps its data as files) issues on its datastore. It is
// the workload that Causeway must get right first: versions claimed by mkdir,
// files saved through a temporary name, a pointer that is unlinked and renamed
// into place, lock files, appends that open and close the file for every line,
// directory renames, and recursive deletion by several threads.
//
//	ROOT/.locks/NS.lock                                global lock
//	ROOT/NS/.namespace.json
//	ROOT/NS/data/TYPE/MODEL/.lock                      lock of one model
//	ROOT/NS/data/TYPE/MODEL/NAME/latest                the newest version's number
//	ROOT/NS/data/TYPE/MODEL/NAME/N/{metadata.yaml,raw} one version
//	ROOT/NS/outputs/TYPE/METHOD/MODEL-TIME.yaml
//
// Without a namespace the NS level is absent. Calls are raw ones where package
// os would do something else: swamp's runtime duplicates a descriptor before
// it writes, so that every file is closed twice; it never syncs.
package swamp
