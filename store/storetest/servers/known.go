package servers

import "github.com/causewayfs/causeway/store/storetest"

// Known returns how a server differs from S3.
func Known(kind Kind) storetest.Differences {
	switch kind {
	case Versity:
		return storetest.Differences{
			AbsentDeleteIfSucceeds: true,
			CopyIfIgnored:          true,
			FileOrDirectory:        true,
			FoldsSegments:          true,
			ListGarblesControls:    true,
		}
	case MinIO:
		return storetest.Differences{
			DeleteIfIgnored: true,
			CopyIfIgnored:   true,
			NoEmptySegments: true,
			PagesOfOneEnd:   true,
		}
	}
	return storetest.Differences{}
}
