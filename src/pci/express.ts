/**
 * The PCI Express capability, version 2 (PCI Express Base 5.0 section 7.5.3), and the extended
 * capabilities that a port has: AER (7.8.4) and ACS (7.7.8). Shared by emulated ports and bridges.
 */

import * as exp from "../abi/pci-express-regs.ts";
import * as ext from "../abi/pci-ext-regs.ts";
import * as pci from "../abi/pci-regs.ts";
import type { ConfigSpace } from "./config-space.ts";

export const EXPRESS_CAPABILITY_SIZE = 0x3c;

/** Link speeds by the name that users give them, in GT/s, and their register encoding. */
export const LINK_SPEEDS: Readonly<Record<string, number>> = {
  "2_5": 1,
  "5": 2,
  "8": 3,
  "16": 4,
  "32": 5,
  "64": 6,
};

export const LINK_WIDTHS: readonly number[] = [1, 2, 4, 8, 12, 16, 32];

export interface Link {
  /** Encoding as in LNKCAP: 1 = 2.5 GT/s. */
  readonly speed: number;
  /** Lanes. */
  readonly width: number;
}

/** One lane at 2.5 GT/s: what a link has at least. */
export const SLOWEST_LINK: Link = { speed: 1, width: 1 };

/**
 * What an emulated end of a link can do with packets: extended format field and four end-to-end
 * prefixes (7.5.3.15). A guest gives devices PASIDs only where all ports above say so.
 */
const EXT_FORMAT_FIELD = 0x0010_0000;
const DEVCAP2 = EXT_FORMAT_FIELD | exp.PCI_EXP_DEVCAP2_EE_PREFIX;

const ERROR_BITS = exp.PCI_EXP_DEVCTL_CERE | 0x0e;
/** ASPM L0s is claimed, as every port must. */
const LINK_ASPM = exp.PCI_EXP_LNKCAP_ASPM_L0S;

/**
 * Adds the capability with its device and link registers.
 *
 * @param type device/port type, bits 7:4 of PCI Express Capabilities
 * @param options.link absent: no link registers (root complex integrated)
 * @returns its offset
 */
export function addExpressCapability(
  config: ConfigSpace,
  type: number,
  options: { readonly port?: number; readonly link?: Link; readonly offset?: number },
): number {
  const at = config.addCapability(pci.PCI_CAP_ID_EXP, options.offset, EXPRESS_CAPABILITY_SIZE);
  config.write(at + exp.PCI_EXP_FLAGS, 2, (type << 4) | 2);
  config.write(at + exp.PCI_EXP_DEVCAP, 4, exp.PCI_EXP_DEVCAP_RBER | exp.PCI_EXP_DEVCAP_EXT_TAG);
  config.write(at + exp.PCI_EXP_DEVCAP2, 4, DEVCAP2);
  config.setMask(config.wmask, at + exp.PCI_EXP_DEVCTL, 2, ERROR_BITS);
  config.setMask(config.w1cmask, at + exp.PCI_EXP_DEVSTA, 2, ERROR_BITS);
  const { link, port = 0 } = options;
  if (!link) return at;
  const encoded = (link.width << exp.PCI_EXP_LNKSTA_NLW_SHIFT) | link.speed;
  const reports = type === exp.PCI_EXP_TYPE_ROOT_PORT ? linkReports(link) : 0;
  config.write(at + exp.PCI_EXP_LNKCAP, 4, (port << 24) | LINK_ASPM | reports | encoded);
  config.write(at + exp.PCI_EXP_LNKSTA, 2, encoded);
  if (link.speed === SLOWEST_LINK.speed) return at;
  config.write(at + exp.PCI_EXP_LNKCAP2, 4, (2 ** (link.speed + 1) - 1) & ~1);
  config.write(at + exp.PCI_EXP_LNKCTL2, 2, link.speed);
  return at;
}

/** What a port tells of its link: that it is up, and, where it can change, its bandwidth. */
function linkReports({ speed, width }: Link): number {
  const canChange = speed > SLOWEST_LINK.speed || width > SLOWEST_LINK.width;
  return exp.PCI_EXP_LNKCAP_DLLLARC | (canChange ? exp.PCI_EXP_LNKCAP_LBNC : 0);
}

const UNCORRECTABLE =
  ext.PCI_ERR_UNC_DLP |
  ext.PCI_ERR_UNC_SURPDN |
  ext.PCI_ERR_UNC_POISON_TLP |
  ext.PCI_ERR_UNC_FCP |
  ext.PCI_ERR_UNC_COMP_TIME |
  ext.PCI_ERR_UNC_COMP_ABORT |
  ext.PCI_ERR_UNC_UNX_COMP |
  ext.PCI_ERR_UNC_RX_OVER |
  ext.PCI_ERR_UNC_MALF_TLP |
  ext.PCI_ERR_UNC_ECRC |
  ext.PCI_ERR_UNC_UNSUP |
  ext.PCI_ERR_UNC_INTN |
  ext.PCI_ERR_UNC_TLPPRE;
/** Fatal by default: section 7.8.4.4. */
const FATAL =
  ext.PCI_ERR_UNC_DLP |
  ext.PCI_ERR_UNC_SURPDN |
  ext.PCI_ERR_UNC_FCP |
  ext.PCI_ERR_UNC_RX_OVER |
  ext.PCI_ERR_UNC_MALF_TLP |
  ext.PCI_ERR_UNC_INTN;
const CORRECTABLE =
  ext.PCI_ERR_COR_RCVR |
  ext.PCI_ERR_COR_BAD_TLP |
  ext.PCI_ERR_COR_BAD_DLLP |
  ext.PCI_ERR_COR_REP_ROLL |
  ext.PCI_ERR_COR_REP_TIMER |
  ext.PCI_ERR_COR_ADV_NFAT |
  ext.PCI_ERR_COR_INTERNAL |
  ext.PCI_ERR_COR_LOG_OVER;
/** Masked by default: sections 7.8.4.3 and 7.8.4.6. */
const UNCORRECTABLE_MASKED = ext.PCI_ERR_UNC_INTN | ext.PCI_ERR_UNC_TLPPRE;
const CORRECTABLE_MASKED =
  ext.PCI_ERR_COR_ADV_NFAT | ext.PCI_ERR_COR_INTERNAL | ext.PCI_ERR_COR_LOG_OVER;
const ECRC_CAPABLE = ext.PCI_ERR_CAP_ECRC_GENC | ext.PCI_ERR_CAP_ECRC_CHKC;
const ECRC_ENABLE = ext.PCI_ERR_CAP_ECRC_GENE | ext.PCI_ERR_CAP_ECRC_CHKE;
/** More than one header can be recorded, and whether more than one is: section 7.8.4.7. */
const MULTIPLE_HEADERS_CAPABLE = 0x200;
const MULTIPLE_HEADERS_ENABLE = 0x400;
const AER_SIZE = 0x48;

/** Advanced Error Reporting. @returns its offset */
export function addAer(config: ConfigSpace, offset: number): number {
  const at = config.addExtendedCapability(ext.PCI_EXT_CAP_ID_ERR, 2, offset, AER_SIZE);
  const { wmask, w1cmask } = config;
  config.setMask(w1cmask, at + ext.PCI_ERR_UNCOR_STATUS, 4, UNCORRECTABLE);
  config.setMask(wmask, at + ext.PCI_ERR_UNCOR_MASK, 4, UNCORRECTABLE);
  config.write(at + ext.PCI_ERR_UNCOR_MASK, 4, UNCORRECTABLE_MASKED);
  config.setMask(wmask, at + ext.PCI_ERR_UNCOR_SEVER, 4, UNCORRECTABLE);
  config.write(at + ext.PCI_ERR_UNCOR_SEVER, 4, FATAL);
  config.setMask(w1cmask, at + ext.PCI_ERR_COR_STATUS, 4, CORRECTABLE);
  config.setMask(wmask, at + ext.PCI_ERR_COR_MASK, 4, CORRECTABLE);
  config.write(at + ext.PCI_ERR_COR_MASK, 4, CORRECTABLE_MASKED);
  config.setMask(wmask, at + ext.PCI_ERR_CAP, 4, ECRC_ENABLE);
  config.write(at + ext.PCI_ERR_CAP, 4, ECRC_CAPABLE);
  return at;
}

/** Advanced Error Reporting of a root port, which gathers what is below. @returns its offset */
export function addRootPortAer(config: ConfigSpace, offset: number): number {
  const at = addAer(config, offset);
  const { wmask, w1cmask } = config;
  config.setMask(wmask, at + ext.PCI_ERR_CAP, 4, ECRC_ENABLE | MULTIPLE_HEADERS_ENABLE);
  config.write(at + ext.PCI_ERR_CAP, 4, ECRC_CAPABLE | MULTIPLE_HEADERS_CAPABLE);
  config.setMask(wmask, at + ext.PCI_ERR_ROOT_COMMAND, 4, 7);
  config.setMask(w1cmask, at + ext.PCI_ERR_ROOT_STATUS, 4, 0x7f);
  return at;
}

const ACS_OF_PORT =
  ext.PCI_ACS_SV |
  ext.PCI_ACS_TB |
  ext.PCI_ACS_RR |
  ext.PCI_ACS_CR |
  ext.PCI_ACS_UF |
  ext.PCI_ACS_DT;

/** Access Control Services of a downstream-facing port. @returns its offset */
export function addPortAcs(config: ConfigSpace, offset: number): number {
  const at = config.addExtendedCapability(ext.PCI_EXT_CAP_ID_ACS, 1, offset, 8);
  config.write(at + ext.PCI_ACS_CAP, 2, ACS_OF_PORT);
  config.setMask(config.wmask, at + ext.PCI_ACS_CTRL, 2, ACS_OF_PORT);
  return at;
}
