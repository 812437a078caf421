/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What guiddef.h of the Windows SDK offers beside GUID itself.
 */
#ifndef KM_GUIDDEF_H
#define KM_GUIDDEF_H

#include "../nmr_types.h"

#include <string.h>

#define GUID_DEFINED

#ifdef __cplusplus
#define EXTERN_C extern "C"
typedef const GUID &REFGUID;
static inline int InlineIsEqualGUID(REFGUID Left, REFGUID Right)
{
    return memcmp(&Left, &Right, sizeof(GUID)) == 0;
}
#else
#define EXTERN_C extern
typedef const GUID *REFGUID;
static inline int InlineIsEqualGUID(REFGUID Left, REFGUID Right)
{
    return memcmp(Left, Right, sizeof(GUID)) == 0;
}
#endif
#define IsEqualGUID(Left, Right) InlineIsEqualGUID(Left, Right)

/* As on Windows: a definition where INITGUID is defined, else a declaration. */
#ifdef INITGUID
#define DEFINE_GUID(Name, A, B, C, D0, D1, D2, D3, D4, D5, D6, D7) \
    EXTERN_C const GUID Name;                                      \
    const GUID Name = {A, B, C, {D0, D1, D2, D3, D4, D5, D6, D7}}
#else
#define DEFINE_GUID(Name, A, B, C, D0, D1, D2, D3, D4, D5, D6, D7) EXTERN_C const GUID Name
#endif

#endif
