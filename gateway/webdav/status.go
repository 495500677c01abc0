package webdav

import (
	"net/http"

	"github.com/causewayfs/causeway/vfs"
)

// statuses maps every vfs.Kind to the answer where nothing about the method
// says otherwise.
var statuses = map[vfs.Kind]int{
	vfs.IO:           http.StatusBadGateway,
	vfs.NotExist:     http.StatusNotFound,
	vfs.Exist:        http.StatusPreconditionFailed, // section 9.8.5, RFC 9110 section 13.1.2
	vfs.NotDir:       http.StatusConflict,
	vfs.IsDir:        http.StatusMethodNotAllowed,
	vfs.NotEmpty:     http.StatusConflict,
	vfs.Permission:   http.StatusForbidden,
	vfs.Access:       http.StatusForbidden,
	vfs.ReadOnly:     http.StatusForbidden,
	vfs.NameTooLong:  http.StatusRequestURITooLong,
	vfs.Invalid:      http.StatusBadRequest,
	vfs.NoAttr:       http.StatusNotFound,
	vfs.AttrTooLarge: http.StatusInsufficientStorage,
	vfs.Range:        http.StatusInsufficientStorage,
	vfs.FileTooLarge: http.StatusRequestEntityTooLarge,
	vfs.NoSpace:      http.StatusInsufficientStorage, // section 11.5
	vfs.Stale:        http.StatusPreconditionFailed,  // the version asked for is not there any more
	vfs.Timeout:      http.StatusServiceUnavailable,  // and may work in a moment
	vfs.Interrupted:  http.StatusServiceUnavailable,  // the gateway ends, or the client has left
	vfs.Busy:         http.StatusServiceUnavailable,  // another gateway moves or removes the tree
	vfs.TextBusy:     http.StatusServiceUnavailable,  //
	vfs.Loop:         http.StatusLoopDetected,        // RFC 5842 section 7.2
	vfs.CrossDevice:  http.StatusBadGateway,          // section 9.9.4
	vfs.NotSupported: http.StatusForbidden,           //
	vfs.NoLock:       http.StatusServiceUnavailable,  // the coordinator does not answer
	vfs.WouldBlock:   http.StatusLocked,              // section 11.3
	vfs.Deadlock:     http.StatusLocked,              //
	vfs.BadHandle:    http.StatusInternalServerError, //
	vfs.NoDevice:     http.StatusRequestedRangeNotSatisfiable,
}

func statusOf(k vfs.Kind) int {
	if code, ok := statuses[k]; ok {
		return code
	}
	return http.StatusInternalServerError
}
