export {
  addressOf,
  type DataItemFields,
  type ParsedItem,
  parseDataItem,
  type SignedItem,
  type SyncItemSigner,
  signDataItemSync,
  type Tag,
  verifyDataItem,
} from './data-item.ts'
export { GatewayClient } from './gateway-client.ts'
export {
  admitChunk,
  admitTransaction,
  type PostedTransaction,
  type ProvedChunk,
  readTransaction,
} from './transaction.ts'
export { createWallet, loadWallet, saveWallet, type Wallet, walletOf } from './wallet.ts'
