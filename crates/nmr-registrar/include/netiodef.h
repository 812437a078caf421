/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The identifiers of the Network Module Registrar, with the names and layouts of netiodef.h of the WDK. Written from
 * their documentation; see docs/nmr-rules.md. Comes with netioddk.h.
 */
#ifndef NETIODEF_H
#define NETIODEF_H

#if !defined(_NTDEF_) && !defined(_WINNT_)
#include "nmr_types.h"
#elif !defined(_NTDEF_)
/* Behind windows.h, which has all but this one. */
typedef LONG NTSTATUS;
#endif

/* Sizes are those of the 64-bit targets. */
#if defined(__cplusplus)
#define NMR_SIZE(Type, Size) static_assert(sizeof(void *) != 8 || sizeof(Type) == (Size), #Type)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define NMR_SIZE(Type, Size) _Static_assert(sizeof(void *) != 8 || sizeof(Type) == (Size), #Type)
#else
#define NMR_SIZE(Type, Size) typedef char Type##_SIZE[sizeof(void *) != 8 || sizeof(Type) == (Size) ? 1 : -1]
#endif

typedef GUID NPIID;
typedef const NPIID *PNPIID;

typedef enum _NPI_MODULEID_TYPE {
    MIT_GUID = 1,
    MIT_IF_LUID,
} NPI_MODULEID_TYPE;

typedef struct _NPI_MODULEID {
    USHORT Length;
    NPI_MODULEID_TYPE Type;
    union {
        GUID Guid;
        LUID IfLuid;
    };
} NPI_MODULEID;
typedef const NPI_MODULEID *PNPI_MODULEID;
NMR_SIZE(NPI_MODULEID, 24);

/* Whether two identifiers are of one type and name the same module. */
static inline BOOLEAN NmrIsEqualNpiModuleId(PNPI_MODULEID Left, PNPI_MODULEID Right)
{
    if (Left->Type != Right->Type)
        return FALSE;
    if (Left->Type == MIT_GUID) {
        const GUID *L = &Left->Guid, *R = &Right->Guid;
        int Index;

        for (Index = 0; Index < 8; Index++)
            if (L->Data4[Index] != R->Data4[Index])
                return FALSE;
        return L->Data1 == R->Data1 && L->Data2 == R->Data2 && L->Data3 == R->Data3;
    }
    if (Left->Type == MIT_IF_LUID)
        return Left->IfLuid.LowPart == Right->IfLuid.LowPart && Left->IfLuid.HighPart == Right->IfLuid.HighPart;
    return FALSE;
}

#endif
